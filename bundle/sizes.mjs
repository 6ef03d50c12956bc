// Prints what a browser loads of each file: {"name.js": [raw, gzip, brotli], …}, in bytes.
//
//   node sizes.mjs turbo.min.js turbo-channels.min.js

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";

/** @param {string} path */
function sizes(path) {
  const content = readFileSync(path);
  // Brotli is at its best level by default, as files are that are compressed once.
  const compressed = [gzipSync(content, { level: 9 }), brotliCompressSync(content)];
  return [basename(path), [content, ...compressed].map(({ length }) => length)];
}

console.log(JSON.stringify(Object.fromEntries(process.argv.slice(2).map(sizes))));
