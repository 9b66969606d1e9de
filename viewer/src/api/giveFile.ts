import type { DmpDocument } from './findDocuments';
import { requestJson } from './requestJson';

/** Hand a file to the node, a manifest (KOS) or an XDM medium (ZIP); the manifests it found in it. */
export async function giveFile(file: Blob): Promise<DmpDocument[]> {
  const isZip = (await file.slice(0, 2).text()) === 'PK';
  const headers = { 'Content-Type': isZip ? 'application/zip' : 'application/dicom' };
  return (await requestJson('/api/v1/manifests', undefined, { method: 'POST', headers, body: file })) as DmpDocument[];
}
