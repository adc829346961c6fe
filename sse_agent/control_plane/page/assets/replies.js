// What a command typed in the chat came to, in words.

import { bytes } from "./text.js";

/** One text of several lines, for the record of a command that is over; `nameOf(fileId)`: what people call an upload. */
export function repliesOf(record, nameOf) {
  const words = record.replies.map((reply) => WORDS[reply.type]?.(reply.payload, nameOf)).filter(Boolean);
  if (words.length) return words.join("\n");
  if (record.error) return `${record.outcome}: ${record.error.message || record.error.code}`;
  return record.outcome;
}

const WORDS = {
  CLIENT_STATUS: (status, nameOf) => [
    `version ${status.version}, by ${status.transport}`,
    `uploads: ${Object.entries(status.uploads).filter(([, count]) => count).map(([state, count]) => `${count} ${state}`).join(", ") || "none"}`,
    `rate ${bytes(status.uploadRate)}/s, disk free ${bytes(status.diskFree)}`,
    ...status.active.map((upload) => `${nameOf(upload.fileId)}  ${upload.state}  ${bytes(upload.offset)} of ${bytes(upload.fileSize)}`),
  ].join("\n"),
  FILE_LIST: (listing) => [
    ...listing.entries.slice(0, 100).map((entry) => (entry.kind === "directory" ? `${entry.name}/` : `${entry.name}  ${bytes(entry.size)}`)),
    listing.entries.length > 100 || listing.cursor ? "… and more: see Files" : listing.entries.length ? "" : "nothing in there",
  ].filter(Boolean).join("\n"),
  MESSAGE: (chat) => chat.text,
};
