/** Resume tokens: `<replica>.<subscription>.<place in the log>-<number of the row>`. */

export interface ResumeToken {
  readonly replica: string;
  readonly subscription: string;
  readonly lsn: bigint;
  readonly number: number;
}

const TOKEN = /^([\w-]{1,64})\.([0-9a-f]{32})\.(\d{1,20})-(\d{1,15})$/;

export function readToken(text: string): ResumeToken | undefined {
  const [, replica = '', subscription = '', lsn = '', number = ''] = TOKEN.exec(text) ?? [];
  return replica === '' ? undefined : { replica, subscription, lsn: BigInt(lsn), number: Number(number) };
}

export const printToken = ({ replica, subscription, lsn, number }: ResumeToken): string =>
  `${replica}.${subscription}.${lsn}-${number}`;
