/** timestamp and timestamptz as epoch milliseconds with three decimals, by integer arithmetic only. */
import type { Encoder } from './encoder.ts';
import { QUOTE, text, whole } from './encoder.ts';
import type { Output } from './output.ts';

/** Days from 1970-01-01 to a day of the proleptic Gregorian calendar; year 0 is 1 BC. */
function daysFromCivil(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

/**
 * A plain decimal number, also before 1970: `-1` microsecond is `-0.001`. (PostgreSQL's last year, 294276, has more
 * milliseconds than a double holds, so seconds and microseconds stay apart.)
 */
export function writeEpoch(out: Output, seconds: number, micros: number): void {
  const negative = seconds < 0;
  const wholeSeconds = negative && micros > 0 ? -seconds - 1 : Math.abs(seconds);
  const restMicros = negative && micros > 0 ? 1_000_000 - micros : micros;
  const millis = Math.floor(restMicros / 1_000);
  out.reserve(EPOCH_BYTES_MAX);
  const { buffer } = out;
  let at = out.position;
  buffer[at++] = QUOTE;
  if (negative) buffer[at++] = DASH;
  if (wholeSeconds > 0) at = writeDigits(buffer, at, wholeSeconds);
  at = wholeSeconds > 0 ? writeThree(buffer, at, millis) : writeDigits(buffer, at, millis);
  buffer[at++] = POINT;
  at = writeThree(buffer, at, restMicros % 1_000);
  buffer[at++] = QUOTE;
  out.position = at;
}

/** Quotes, a sign, thirteen digits of seconds, six of microseconds and the point. */
const EPOCH_BYTES_MAX = 32;
const DIGIT = 0x30;

/** Digits straight into the buffer: as a string each would cost a native call and some garbage. */
function writeDigits(buffer: Buffer, start: number, value: number): number {
  let digits = 1;
  for (let bound = 10; value >= bound; bound *= 10) digits += 1;
  let rest = value;
  for (let at = start + digits - 1; at >= start; at -= 1) {
    const next = Math.floor(rest / 10);
    buffer[at] = DIGIT + rest - next * 10;
    rest = next;
  }
  return start + digits;
}

function writeThree(buffer: Buffer, at: number, value: number): number {
  const hundreds = Math.floor(value / 100);
  const tens = Math.floor(value / 10) - hundreds * 10;
  buffer[at] = DIGIT + hundreds;
  buffer[at + 1] = DIGIT + tens;
  buffer[at + 2] = DIGIT + (value % 10);
  return at + 3;
}

const DASH = 0x2d;
const COLON = 0x3a;
const SPACE = 0x20;
const POINT = 0x2e;
const PLUS = 0x2b;

const two = (bytes: Buffer, at: number): number => (bytes[at] ?? 0) * 10 + (bytes[at + 1] ?? 0) - DIGIT * 11;

/** The ISO form as it nearly always is, a year of four digits after Christ; answers false, with nothing written, if not. */
function writeCommonIso(out: Output, bytes: Buffer, from: number, to: number): boolean {
  if (to - from < 19 || bytes[from + 4] !== DASH || bytes[from + 7] !== DASH || bytes[from + 10] !== SPACE) return false;
  if (bytes[from + 13] !== COLON || bytes[from + 16] !== COLON) return false;
  let at = from + 19;
  let micros = 0;
  if (at < to && bytes[at] === POINT) {
    at += 1;
    const start = at;
    for (let code = bytes[at] ?? 0; at < to && code >= DIGIT && code <= DIGIT + 9; code = bytes[at] ?? 0) {
      micros = micros * 10 + code - DIGIT;
      at += 1;
    }
    for (let digits = at - start; digits < 6; digits += 1) micros *= 10;
  }
  let offset = 0;
  if (at < to) {
    const sign = bytes[at] === PLUS ? 1 : bytes[at] === DASH ? -1 : 0;
    const isWhole = to - at === 3;
    if (sign === 0 || !(isWhole || (to - at === 6 && bytes[at + 3] === COLON))) return false;
    offset = sign * (two(bytes, at + 1) * 3_600 + (isWhole ? 0 : two(bytes, at + 4) * 60));
  }
  const days = daysFromCivil(two(bytes, from) * 100 + two(bytes, from + 2), two(bytes, from + 5), two(bytes, from + 8));
  const second = two(bytes, from + 11) * 3_600 + two(bytes, from + 14) * 60 + two(bytes, from + 17) - offset;
  writeEpoch(out, days * 86_400 + second, micros);
  return true;
}

/** Reads the ISO form; answers false, with nothing written, if the text is of another form. */
function writeIso(out: Output, bytes: Buffer, from: number, to: number): boolean {
  let at = from;
  const isDigit = (): boolean => at < to && (bytes[at] ?? 0) >= 0x30 && (bytes[at] ?? 0) <= 0x39;
  const number = (): number => {
    let value = 0;
    while (isDigit()) {
      value = value * 10 + (bytes[at] ?? 0) - 0x30;
      at += 1;
    }
    return value;
  };
  const passes = (code: number): boolean => {
    if (at >= to || bytes[at] !== code) return false;
    at += 1;
    return true;
  };
  let year = number();
  if (at - from < 4 || !passes(DASH)) return false;
  const month = number();
  if (!passes(DASH)) return false;
  const day = number();
  if (!passes(SPACE)) return false;
  let secondOfDay = number() * 3_600;
  if (!passes(COLON)) return false;
  secondOfDay += number() * 60;
  if (!passes(COLON)) return false;
  secondOfDay += number();
  let micros = 0;
  if (passes(POINT)) {
    const start = at;
    micros = number();
    for (let digits = at - start; digits < 6; digits += 1) micros *= 10;
  }
  const sign = at < to && (bytes[at] === 0x2b || bytes[at] === DASH) ? (bytes[at] === DASH ? -1 : 1) : 0;
  if (sign !== 0) {
    at += 1;
    let offset = number() * 3_600;
    if (passes(COLON)) offset += number() * 60;
    if (passes(COLON)) offset += number();
    secondOfDay -= sign * offset;
  }
  if (at < to) {
    if (bytes.toString('latin1', at, to) !== ' BC') return false;
    year = 1 - year;
  }
  writeEpoch(out, daysFromCivil(year, month, day) * 86_400 + secondOfDay, micros);
  return true;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `German` and `Postgres`. In `SQL` only the session could tell which number is the month, and zones have many names. */
const GERMAN = /^(?<day>\d\d)\.(?<month>\d\d)\.(?<year>\d{4,}) (?<time>[\d:.]+)(?<bc> BC)?$/;
const NAMED =
  /^[A-Z][a-z]{2} (?:(?<day1>\d\d) (?<month1>[A-Z][a-z]{2})|(?<month2>[A-Z][a-z]{2}) (?<day2>\d\d)) (?<time>[\d:.]+) (?<year>\d{4,})(?<bc> BC)?$/;
const TIME = /^(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/;

/** Answers false, with nothing written, if the text alone cannot be read for certain. */
function writeOtherStyle(out: Output, value: string): boolean {
  const groups = (GERMAN.exec(value) ?? NAMED.exec(value))?.groups;
  const time = TIME.exec(groups?.['time'] ?? '');
  if (groups === undefined || time === null) return false;
  const month = groups['month'] ?? MONTHS.indexOf(groups['month1'] ?? groups['month2'] ?? '') + 1;
  if (month === 0) return false;
  const [, hours, minutes, seconds, fraction = ''] = time;
  const year = groups['bc'] === undefined ? Number(groups['year']) : 1 - Number(groups['year']);
  const days = daysFromCivil(year, Number(month), Number(groups['day'] ?? groups['day1'] ?? groups['day2']));
  writeEpoch(
    out,
    days * 86_400 + Number(hours) * 3_600 + Number(minutes) * 60 + Number(seconds),
    Number(fraction.padEnd(6, '0')),
  );
  return true;
}

const LONGEST = 80;

export const timestamp: Encoder = whole((out, bytes, from, to) => {
  const first = bytes[from] ?? 0;
  if (first >= 0x30 && first <= 0x39 && (writeCommonIso(out, bytes, from, to) || writeIso(out, bytes, from, to))) return;
  const value = to - from > LONGEST ? '' : bytes.toString('latin1', from, to);
  if (value === 'infinity' || value === '-infinity') {
    out.byte(QUOTE);
    out.ascii(value === 'infinity' ? 'Infinity' : '-Infinity');
    out.byte(QUOTE);
  } else if (!writeOtherStyle(out, value)) {
    text.value(out, bytes, from, to);
  }
});
