/** The server's messages that an answer is made of. */
import type { Column, Notice, SqlError } from '../domain/entries.ts';
import type { Notification } from '../domain/channels.ts';
import { MessageReader } from './wire.pg.ts';

export const MessageType = {
  rowDescription: 0x54,
  noData: 0x6e,
  dataRow: 0x44,
  commandComplete: 0x43,
  error: 0x45,
  notice: 0x4e,
  parameterStatus: 0x53,
  notification: 0x41,
  copyIn: 0x47,
  copyOut: 0x48,
  copyBoth: 0x57,
} as const;

export interface ServerError extends SqlError {
  readonly severity: string;
  /** The server's own function that raised it. */
  readonly routine: string | undefined;
}

/** The fields of an error or a notice by the letters that the protocol has for them. A message that was cut off lacks its last ones. */
export function readFields(bytes: Buffer, from: number, to: number): ReadonlyMap<string, string> {
  const reader = new MessageReader(bytes, from, to);
  const fields = new Map<string, string>();
  while (!reader.isAtEnd) {
    const type = reader.byte();
    if (type === 0) break;
    fields.set(String.fromCharCode(type), reader.text());
  }
  return fields;
}

export function readError(bytes: Buffer, from: number, to: number): ServerError {
  const fields = readFields(bytes, from, to);
  const position = fields.get('P');
  return {
    message: fields.get('M') ?? '',
    code: fields.get('C') ?? 'XX000',
    detail: fields.get('D'),
    hint: fields.get('H'),
    position: position === undefined ? undefined : Number(position),
    severity: fields.get('V') ?? fields.get('S') ?? '',
    routine: fields.get('R'),
  };
}

export const sqlError = ({ message, code, detail, hint, position }: ServerError): SqlError => ({
  message,
  code,
  detail,
  hint,
  position,
});

export const toNotice = ({ message, code, severity, detail, hint }: ServerError): Notice => ({
  message,
  code,
  severity: severity.toLowerCase(),
  detail,
  hint,
});

export function readNotification(bytes: Buffer, from: number, to: number): Notification {
  const reader = new MessageReader(bytes, from, to);
  const processId = reader.int32();
  return { channel: reader.text(), payload: reader.text(), processId };
}

export function readColumns(bytes: Buffer, from: number, to: number): Column[] {
  const reader = new MessageReader(bytes, from, to);
  return Array.from({ length: reader.int16() }, () => {
    const name = reader.text();
    // The table and the number of the column in it.
    reader.uint32();
    reader.int16();
    const column = { name, oid: reader.uint32(), length: reader.int16(), modifier: reader.int32() };
    return { ...column, isBinary: reader.int16() === 1 };
  });
}
