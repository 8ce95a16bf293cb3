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
  const sign = negative ? '"-' : '"';
  const head = wholeSeconds === 0 ? `${millis}` : `${wholeSeconds}${pad3(millis)}`;
  out.ascii(`${sign}${head}.${pad3(restMicros % 1_000)}"`);
}

const pad3 = (value: number): string => (value < 10 ? `00${value}` : value < 100 ? `0${value}` : `${value}`);

const DASH = 0x2d;
const COLON = 0x3a;
const SPACE = 0x20;
const POINT = 0x2e;

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
  if (first >= 0x30 && first <= 0x39 && writeIso(out, bytes, from, to)) return;
  const value = to - from > LONGEST ? '' : bytes.toString('latin1', from, to);
  if (value === 'infinity' || value === '-infinity') {
    out.byte(QUOTE);
    out.ascii(value === 'infinity' ? 'Infinity' : '-Infinity');
    out.byte(QUOTE);
  } else if (!writeOtherStyle(out, value)) {
    text.value(out, bytes, from, to);
  }
});
