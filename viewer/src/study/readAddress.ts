export interface Address {
  studyUids: string[];
  visit: string;
}

const UID = /^[0-9]+(\.[0-9]+)*$/;

/** Which studies the page was asked to show. What is not a UID is dropped: it must not reach the path of a request. */
export function readAddress(search: string): Address {
  const query = new URLSearchParams(search);
  const asked = query.getAll('StudyInstanceUIDs').flatMap((value) => value.split(','));
  const studyUids = asked.map((uid) => uid.trim()).filter((uid) => uid.length <= 64 && UID.test(uid));
  return { studyUids: [...new Set(studyUids)], visit: query.get('visit') ?? '' };
}
