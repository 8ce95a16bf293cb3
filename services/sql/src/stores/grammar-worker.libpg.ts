/** The thread that judges long texts: with a stack of its own, and nobody waiting behind it. */
import { strict as assert } from 'node:assert';
import { parentPort } from 'node:worker_threads';

import { createParser } from './parser.libpg.ts';

assert(parentPort !== null);
const port = parentPort;
const parser = await createParser();

port.on('message', ({ id, text }: { readonly id: number; readonly text: string }) => {
  port.postMessage({ id, verdict: parser.judge(text), memoryBytes: parser.memoryBytes });
});
port.postMessage('ready');
