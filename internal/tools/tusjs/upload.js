// Uploads a file to an upload that was declared, as an app on tus-js-client does, and prints how it went as one line of JSON.
// Usage: node upload.js <upload URL> <bearer token> <file> <chunk size>
import { createReadStream, statSync } from "node:fs";
import { Upload } from "tus-js-client";

const [url, token, file, chunkSize] = process.argv.slice(2);
const retries = [];
const upload = new Upload(createReadStream(file), {
  uploadUrl: url,
  uploadSize: statSync(file).size,
  chunkSize: Number(chunkSize),
  headers: { Authorization: `Bearer ${token}` },
  retryDelays: Array(30).fill(50),
  onShouldRetry: (error) => {
    retries.push(error.originalResponse?.getStatus() ?? 0);
    return true;
  },
  onError: (error) => {
    console.log(JSON.stringify({ ok: false, error: error.message, retries }));
    process.exit(1);
  },
  onSuccess: () => console.log(JSON.stringify({ ok: true, retries })),
});
upload.start();
