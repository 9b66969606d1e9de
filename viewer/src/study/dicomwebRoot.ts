/** The DICOMweb service root: what the node keeps, or what is on loan for a visit. */
export function dicomwebRoot(visit: string): string {
  return visit ? `/visits/${encodeURIComponent(visit)}/dicom-web` : '/dicom-web';
}
