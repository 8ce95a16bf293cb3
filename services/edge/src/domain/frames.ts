/**
 * WebSocket frames (RFC 6455 5.2) of one client, before it is known who that is. Strict: what a server must refuse is
 * refused, and nothing behind the part that was asked for is read.
 */

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** Close codes that the edge says by itself. */
export const CLOSE = {
  normal: 1_000,
  goingAway: 1_001,
  protocol: 1_002,
  tooBig: 1_009,
  internal: 1_011,
  restart: 1_012,
  tryAgain: 1_013,
  revoked: 4_401,
} as const;

export type Part =
  /** Some of a message's payload; `last` if the message ends with it. */
  | { readonly kind: 'payload'; readonly bytes: Buffer; readonly last: boolean; readonly isText: boolean }
  | { readonly kind: 'ping'; readonly payload: Buffer }
  | { readonly kind: 'pong' }
  | { readonly kind: 'close' }
  | { readonly kind: 'fault'; readonly code: number; readonly reason: string };

export interface FrameReader {
  push(chunk: Buffer): void;
  /** The next part that has come, if there is one. After a fault or a close there is none. */
  next(): Part | undefined;
  /**
   * What has come and was not read, as frames that mean the same to whoever reads them instead. `isOpen` if the message
   * that was read last goes on in them: what is put before must begin it.
   */
  rest(): { readonly bytes: Buffer; readonly isOpen: boolean };
}

/** A frame whose payload is being read. */
interface Current {
  readonly opcode: number;
  readonly fin: boolean;
  readonly mask: Buffer;
  readonly length: number;
  taken: number;
}

const isControl = (opcode: number): boolean => opcode >= OPCODE.close;
const CONTROL_BYTES_MAX = 125;
/** Of one message, before it is known who that is; empty ones cost memory too. */
const MESSAGE_FRAMES_MAX = 1_000;

export function createFrameReader(messageBytesMax: number): FrameReader {
  let pending: Buffer = Buffer.alloc(0);
  let current: Current | undefined;
  /** The kind of the message under way; frames of it may follow. */
  let message: number | undefined;
  let messageBytes = 0;
  let messageFrames = 0;
  let over = false;

  const fault = (reason: string, code: number = CLOSE.protocol): Part => {
    over = true;
    return { kind: 'fault', code, reason };
  };

  const begin = (): Part | Current | undefined => {
    const head = readHead(pending);
    if (head === undefined) return undefined;
    const { opcode, fin, rsv, mask, length } = head;
    if (rsv) return fault('reserved bits are set');
    if (mask === undefined) return fault('the frame is not masked');
    if (isControl(opcode)) {
      if (opcode > OPCODE.pong) return fault('the opcode is unknown');
      if (!fin || length > CONTROL_BYTES_MAX) return fault('a control frame is fragmented or too long');
    } else {
      if (opcode > OPCODE.binary) return fault('the opcode is unknown');
      if ((opcode === OPCODE.continuation) !== (message !== undefined)) return fault('the fragments are out of order');
      if (messageBytes + length > messageBytesMax) return fault('the message is too long', CLOSE.tooBig);
      messageFrames += 1;
      if (messageFrames > MESSAGE_FRAMES_MAX) return fault('the message has too many frames', CLOSE.tooBig);
      if (opcode !== OPCODE.continuation) message = opcode;
      messageBytes += length;
    }
    pending = pending.subarray(head.bytes);
    current = { opcode, fin, mask, length, taken: 0 };
    return current;
  };

  const take = (frame: Current, bytes: number): Buffer => {
    const payload = unmask(pending.subarray(0, bytes), frame.mask, frame.taken);
    pending = pending.subarray(bytes);
    frame.taken += bytes;
    if (frame.taken === frame.length) current = undefined;
    return payload;
  };

  const control = (frame: Current): Part | undefined => {
    if (pending.length < frame.length) return undefined;
    const payload = take(frame, frame.length);
    if (frame.opcode === OPCODE.ping) return { kind: 'ping', payload };
    if (frame.opcode === OPCODE.pong) return { kind: 'pong' };
    over = true;
    return { kind: 'close' };
  };

  return {
    push(chunk) {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    },
    next() {
      if (over) return undefined;
      const frame = current ?? begin();
      if (frame === undefined || 'kind' in frame) return frame;
      if (isControl(frame.opcode)) return control(frame);
      if (pending.length === 0 && frame.length > 0) return undefined;
      const isText = message === OPCODE.text;
      const bytes = take(frame, Math.min(pending.length, frame.length - frame.taken));
      const last = frame.fin && frame.taken === frame.length;
      if (last) {
        message = undefined;
        messageBytes = 0;
        messageFrames = 0;
      }
      return { kind: 'payload', bytes, last, isText };
    },
    rest() {
      if (current === undefined || isControl(current.opcode)) {
        // The head of a control frame that has begun is written anew as it was.
        const begun = current === undefined ? [] : [frameHead(current.opcode, true, current.length, current.mask)];
        return { bytes: Buffer.concat([...begun, pending]), isOpen: message !== undefined };
      }
      // The frame that has begun goes on as one of its own; its mask goes on where it was.
      const { mask, taken, length, fin } = current;
      const rotated = Buffer.from([0, 1, 2, 3].map((index) => mask[(index + taken) % 4] ?? 0));
      const head = frameHead(OPCODE.continuation, fin, length - taken, rotated);
      return { bytes: Buffer.concat([head, pending]), isOpen: true };
    },
  };
}

interface Head {
  readonly opcode: number;
  readonly fin: boolean;
  readonly rsv: boolean;
  readonly mask: Buffer | undefined;
  readonly length: number;
  /** Of the head itself. */
  readonly bytes: number;
}

function readHead(bytes: Buffer): Head | undefined {
  const [first, second] = bytes;
  if (first === undefined || second === undefined) return undefined;
  const short = second & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const maskBytes = (second & 0x80) === 0 ? 0 : 4;
  const headBytes = 2 + extended + maskBytes;
  if (bytes.length < headBytes) return undefined;
  return {
    opcode: first & 0x0f,
    fin: (first & 0x80) !== 0,
    rsv: (first & 0x70) !== 0,
    mask: maskBytes === 0 ? undefined : Buffer.from(bytes.subarray(headBytes - 4, headBytes)),
    length: extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(2) : readLength(bytes),
    bytes: headBytes,
  };
}

/** Beyond what a number holds exactly it is too long for anybody. */
const readLength = (bytes: Buffer): number => bytes.readUInt32BE(2) * 2 ** 32 + bytes.readUInt32BE(6);

function unmask(bytes: Buffer, mask: Buffer, offset: number): Buffer {
  const clear = Buffer.from(bytes);
  for (let index = 0; index < clear.length; index += 1) {
    clear[index] = (clear[index] ?? 0) ^ (mask[(index + offset) % 4] ?? 0);
  }
  return clear;
}

function frameHead(opcode: number, fin: boolean, length: number, mask?: Buffer): Buffer {
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + extended);
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] = (mask === undefined ? 0 : 0x80) | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) head.writeUInt16BE(length, 2);
  if (extended === 8) head.writeBigUInt64BE(BigInt(length), 2);
  return mask === undefined ? head : Buffer.concat([head, mask]);
}

/** A whole frame to a client. */
export const serverFrame = (opcode: number, payload: Buffer): Buffer =>
  Buffer.concat([frameHead(opcode, true, payload.length), payload]);

/** A frame to a server. `fin` is false for one whose message goes on in what follows. */
export const clientFrame = (opcode: number, payload: Buffer, mask: Buffer, fin = true): Buffer =>
  Buffer.concat([frameHead(opcode, fin, payload.length, mask), unmask(payload, mask, 0)]);

const REASON_BYTES_MAX = 123;

/** A Close frame to a client; the reason is cut at a character. */
export function closeFrame(code: number, reason: string): Buffer {
  let text = Buffer.from(reason);
  let end = Math.min(text.length, REASON_BYTES_MAX);
  while (end < text.length && ((text[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  text = text.subarray(0, end);
  const payload = Buffer.alloc(2 + text.length);
  payload.writeUInt16BE(code);
  text.copy(payload, 2);
  return serverFrame(OPCODE.close, payload);
}

/** Where frames end in bytes that pass by, without looking into them. */
export interface Boundary {
  /** Whether the next byte begins a frame. */
  readonly isBetween: boolean;
  /** Whether a Close frame has begun: what follows it means nothing. */
  readonly isClosed: boolean;
  /** Takes note of bytes, all of them or up to the first end of a frame; how many it took. */
  pass(chunk: Buffer, untilEnd?: boolean): number;
}

const HEAD_BYTES_MAX = 14;

export function createBoundary(): Boundary {
  const head = Buffer.alloc(HEAD_BYTES_MAX);
  let headBytes = 0;
  /** Of the frame under way, once its head is whole. */
  let payloadLeft: number | undefined;
  let isClosed = false;

  return {
    get isBetween() {
      return headBytes === 0;
    },
    get isClosed() {
      return isClosed;
    },
    pass(chunk, untilEnd = false) {
      let at = 0;
      while (at < chunk.length) {
        if (payloadLeft === undefined) {
          if (headBytes === 0) isClosed ||= ((chunk[at] ?? 0) & 0x0f) === OPCODE.close;
          // The common case, a whole head in the chunk, is read in place.
          const read = headBytes === 0 ? readSizes(chunk, at) : undefined;
          if (read !== undefined) {
            headBytes = 1;
            payloadLeft = read.length;
            at += read.bytes;
          } else {
            head[headBytes] = chunk[at] ?? 0;
            headBytes += 1;
            at += 1;
            const gathered = readSizes(head.subarray(0, headBytes), 0);
            if (gathered !== undefined) payloadLeft = gathered.length;
          }
        }
        if (payloadLeft === undefined) continue;
        const taken = Math.min(payloadLeft, chunk.length - at);
        payloadLeft -= taken;
        at += taken;
        if (payloadLeft > 0) continue;
        payloadLeft = undefined;
        headBytes = 0;
        if (untilEnd) return at;
      }
      return at;
    },
  };
}

/** How long a head is, and the payload behind it, if the head is whole. */
function readSizes(bytes: Buffer, at: number): { readonly bytes: number; readonly length: number } | undefined {
  const second = bytes[at + 1];
  if (second === undefined) return undefined;
  const short = second & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const headBytes = 2 + extended + ((second & 0x80) === 0 ? 0 : 4);
  if (bytes.length - at < headBytes) return undefined;
  if (extended === 0) return { bytes: headBytes, length: short };
  if (extended === 2) return { bytes: headBytes, length: bytes.readUInt16BE(at + 2) };
  return { bytes: headBytes, length: bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6) };
}
