/** One picture of a stack. */
export interface Frame {
  imageId: string;
  sopUid: string;
  frameNumber: number;
}
