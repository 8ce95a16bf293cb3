/** Bytes to a port, and what comes back: clients and browsers repair requests before they send them, this one does not. */
import { connect } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface RawExchange {
  readonly answers: readonly RawAnswer[];
  /** Whether the edge ended the connection. */
  readonly closed: boolean;
}

/** Long enough for a busy machine. */
const WAIT_MS = 30_000;

/** Sends the bytes and reads until `answers` whole answers have come, or the connection ends. */
export async function sendRaw(port: number, bytes: string | Buffer, answers = 1): Promise<RawExchange> {
  const socket = connect({ port, host: '127.0.0.1' });
  const { promise, resolve, reject } = Promise.withResolvers<RawExchange>();
  let received = '';
  let closed = false;
  const conclude = (): void => {
    const parsed = parseAnswers(received);
    if (closed || parsed.length >= answers) resolve({ answers: parsed, closed });
  };
  const late = setTimeout(() => reject(new Error(`no whole answer, but ${JSON.stringify(received)}`)), WAIT_MS);
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    received += text;
    // A connection that is to be closed is waited for, so that the test can tell.
    if (!/^connection: close\r$/im.test(received)) conclude();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    closed = true;
    conclude();
  });
  socket.write(bytes);
  try {
    return await promise;
  } finally {
    clearTimeout(late);
    socket.destroy();
  }
}

function parseAnswers(received: string): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let rest = received;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    if (end === -1) return answers;
    const [statusLine = '', ...lines] = rest.slice(0, end).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const status = Number(statusLine.split(' ')[1]);
    const length = Number(headers['content-length'] ?? 0);
    const body = rest.slice(end + 4, end + 4 + length);
    if (body.length < length) return answers;
    rest = rest.slice(end + 4 + length);
    if (status !== 100) answers.push({ status, headers, body });
  }
}

/** A request in HTTP/1.1 as it is written, with a host. */
export const rawRequest = (line: string, headers: readonly string[] = [], body = ''): string =>
  `${line}\r\n${['Host: edge', ...headers].join('\r\n')}\r\n\r\n${body}`;
