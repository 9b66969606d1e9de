/** A data set in the DICOM JSON model, PS3.18 annex F: tag in 8 upper hex digits -> attribute. */
export type DicomJson = Record<string, Attribute | undefined>;

export interface Attribute {
  vr?: string;
  Value?: unknown[];
  InlineBinary?: string;
  BulkDataURI?: string;
}
