/** Reads HTTP/1.1 answers of one connection, strictly: what has two readings is a fault, and so are bytes nobody asked for. */
import type { AnswerHead } from './ports.ts';

export interface ReaderSink {
  head(head: AnswerHead): void;
  data(chunk: Buffer, last: boolean): void;
  end(): void;
}

export interface AnswerReader {
  /** The next answer goes to `sink`; `toHead` if the request was HEAD, whose answer has no body. */
  expect(sink: ReaderSink, toHead: boolean): void;
  /** Throws {@link AnswerFault}. */
  push(chunk: Buffer): void;
  /** The connection has ended; true if that completes the answer. */
  finish(): boolean;
  /** Whether the connection may carry another request after this answer. */
  readonly keepsAlive: boolean;
}

export class AnswerFault extends Error {
  override readonly name = 'AnswerFault';
}

const HEAD_BYTES_MAX = 32_768;
const LINE_BYTES_MAX = 4_096;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
/** One header line and its end; nothing in it can be read as two. */
const HEADER_LINE = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)(?:\r\n|$)/y;
const CHUNK_SIZE = /^[0-9a-fA-F]{1,12}$/;
const HEAD_END = Buffer.from('\r\n\r\n');

type Phase = 'idle' | 'head' | 'length' | 'untilClose' | 'chunkSize' | 'chunkData' | 'chunkEnd' | 'trailer';

interface ParsedHead extends AnswerHead {
  readonly chunked: boolean;
  readonly keepsAlive: boolean;
}

export function createAnswerReader(): AnswerReader {
  let phase: Phase = 'idle';
  let pending: Buffer | undefined;
  let left = 0;
  let keepsAlive = true;
  let sink: ReaderSink | undefined;
  let toHead = false;

  const conclude = (): void => {
    phase = 'idle';
    const ended = sink;
    sink = undefined;
    ended?.end();
  };

  /** All of `chunk` is in an answer's head, or nothing is left to read. */
  const readHeadFrom = (chunk: Buffer): Buffer | undefined => {
    const bytes = pending === undefined ? chunk : Buffer.concat([pending, chunk]);
    const end = bytes.indexOf(HEAD_END);
    if (end === -1 ? bytes.length > HEAD_BYTES_MAX : end > HEAD_BYTES_MAX) throw new AnswerFault('the head is too long');
    pending = end === -1 ? bytes : undefined;
    if (end === -1) return undefined;
    const head = parseHead(bytes.toString('latin1', 0, end));
    const rest = bytes.subarray(end + HEAD_END.length);
    if (head.status < 200) {
      if (head.status === 101) throw new AnswerFault('nobody asked for an upgrade');
      return rest;
    }
    keepsAlive = head.keepsAlive;
    sink?.head(head);
    const bodiless = toHead || head.status === 204 || head.status === 304 || (!head.chunked && head.contentLength === 0);
    if (bodiless) conclude();
    else if (head.chunked) phase = 'chunkSize';
    else if (head.contentLength === undefined) {
      phase = 'untilClose';
      keepsAlive = false;
    } else {
      phase = 'length';
      left = head.contentLength;
    }
    return rest;
  };

  const readCounted = (chunk: Buffer, then: () => void): Buffer => {
    const taken = chunk.length <= left ? chunk : chunk.subarray(0, left);
    left -= taken.length;
    sink?.data(taken, phase === 'length' && left === 0);
    if (left === 0) then();
    return chunk.subarray(taken.length);
  };

  const readLine = (chunk: Buffer, read: (line: string) => void): Buffer | undefined => {
    const bytes = pending === undefined ? chunk : Buffer.concat([pending, chunk]);
    const end = bytes.indexOf('\r\n');
    if (end === -1 ? bytes.length > LINE_BYTES_MAX : end > LINE_BYTES_MAX) throw new AnswerFault('a line is too long');
    pending = end === -1 ? bytes : undefined;
    if (end === -1) return undefined;
    read(bytes.toString('latin1', 0, end));
    return bytes.subarray(end + 2);
  };

  const step = (chunk: Buffer): Buffer | undefined => {
    switch (phase) {
      case 'idle':
        throw new AnswerFault('there is more than was asked for');
      case 'head':
        return readHeadFrom(chunk);
      case 'length':
        return readCounted(chunk, conclude);
      case 'untilClose':
        sink?.data(chunk, false);
        return undefined;
      case 'chunkSize':
        return readLine(chunk, (line) => {
          if (!CHUNK_SIZE.test(line)) throw new AnswerFault('a chunk has no size');
          left = Number.parseInt(line, 16);
          phase = left === 0 ? 'trailer' : 'chunkData';
        });
      case 'chunkData':
        return readCounted(chunk, () => (phase = 'chunkEnd'));
      case 'chunkEnd':
        return readLine(chunk, (line) => {
          if (line !== '') throw new AnswerFault('a chunk is longer than its size');
          phase = 'chunkSize';
        });
      case 'trailer':
        return readLine(chunk, (line) => {
          if (line === '') conclude();
        });
    }
  };

  return {
    expect(next, isHead) {
      sink = next;
      toHead = isHead;
      phase = 'head';
      pending = undefined;
      keepsAlive = true;
    },
    push(chunk) {
      let rest: Buffer | undefined = chunk;
      while (rest !== undefined && rest.length > 0) rest = step(rest);
    },
    finish() {
      if (phase !== 'untilClose') return false;
      conclude();
      return true;
    },
    get keepsAlive() {
      return keepsAlive;
    },
  };
}

function parseHead(text: string): ParsedHead {
  const lineEnd = text.indexOf('\r\n');
  const statusLine = lineEnd === -1 ? text : text.slice(0, lineEnd);
  const match = STATUS_LINE.exec(statusLine);
  if (match === null) throw new AnswerFault('the status line is malformed');
  const headers: (readonly [string, string])[] = [];
  let contentLength: number | undefined;
  let encoding: string | undefined;
  let connection = match[1] === '0' ? 'close' : '';
  for (let at = statusLine.length + 2; at < text.length; at = HEADER_LINE.lastIndex) {
    HEADER_LINE.lastIndex = at;
    const line = HEADER_LINE.exec(text);
    if (line === null) throw new AnswerFault('a header is malformed');
    const name = (line[1] ?? '').toLowerCase();
    const value = (line[2] ?? '').trimEnd();
    if (name === 'content-length') {
      if (contentLength !== undefined || !/^\d{1,15}$/.test(value)) throw new AnswerFault('the length is ambiguous');
      contentLength = Number(value);
    } else if (name === 'transfer-encoding') {
      if (encoding !== undefined) throw new AnswerFault('the framing is ambiguous');
      encoding = value.toLowerCase();
    } else if (name === 'connection') connection = value.toLowerCase();
    headers.push([name, value]);
  }
  if (encoding !== undefined && (encoding !== 'chunked' || contentLength !== undefined)) {
    throw new AnswerFault('the framing is ambiguous');
  }
  return {
    status: Number(match[2]),
    headers,
    contentLength,
    chunked: encoding === 'chunked',
    keepsAlive: !connection.includes('close'),
  };
}
