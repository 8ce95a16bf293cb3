/** timestamp and timestamptz as epoch milliseconds with three decimals, by integer arithmetic only. */
import type { Encoder } from './encoder.ts';
import { QUOTE, text, whole } from './encoder.ts';
import type { Output, SessionFacts } from './output.ts';

/** Days from 1970-01-01 to a day of the proleptic Gregorian calendar; year 0 is 1 BC. */
export function daysFromCivil(year: number, month: number, day: number): number {
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

/** Months and days with the same separator: `SQL` (`/`), where the order is the session's, and `German` (`.`). */
const NUMERIC =
  /^(?<first>\d\d)(?<separator>[/.])(?<second>\d\d)[/.](?<year>\d{4,}) (?<time>[\d:.]+)(?: ?(?!BC$)(?<zone>[^ ]+))?(?<bc> BC)?$/;
const NAMED =
  /^[A-Z][a-z]{2} (?:(?<day1>\d\d) (?<month1>[A-Z][a-z]{2})|(?<month2>[A-Z][a-z]{2}) (?<day2>\d\d)) (?<time>[\d:.]+) (?<year>\d{4,})(?: (?!BC$)(?<zone>[^ ]+))?(?<bc> BC)?$/;
const TIME = /^(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/;
const OFFSET = /^([+-])(\d\d)(?::?(\d\d))?(?::?(\d\d))?$/;

interface Civil {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly time: string;
  readonly zone: string | undefined;
}

/** The forms of `DateStyle` SQL, German and Postgres; undefined where the text alone cannot be read for certain. */
function readOtherStyle(value: string, facts: SessionFacts): Civil | undefined {
  const numeric = NUMERIC.exec(value)?.groups;
  if (numeric !== undefined) {
    const isGerman = numeric['separator'] === '.';
    // The order of day and month is known only if the style is the one the server told of.
    if (!isGerman && !facts.dateStyle.startsWith('SQL')) return undefined;
    const dayFirst = isGerman || facts.dateStyle.endsWith('DMY');
    const [day, month] = dayFirst ? [numeric['first'], numeric['second']] : [numeric['second'], numeric['first']];
    return civil(numeric, Number(month), Number(day));
  }
  const named = NAMED.exec(value)?.groups;
  if (named === undefined) return undefined;
  const month = MONTHS.indexOf(named['month1'] ?? named['month2'] ?? '') + 1;
  return month === 0 ? undefined : civil(named, month, Number(named['day1'] ?? named['day2']));
}

function civil(groups: Readonly<Record<string, string | undefined>>, month: number, day: number): Civil {
  const year = Number(groups['year']);
  return { year: groups['bc'] === undefined ? year : 1 - year, month, day, time: groups['time'] ?? '', zone: groups['zone'] };
}

function writeOtherStyle(out: Output, value: string): boolean {
  const read = readOtherStyle(value, out.facts);
  const time = read === undefined ? null : TIME.exec(read.time);
  if (read === undefined || time === null) return false;
  const [, hours, minutes, seconds, fraction = ''] = time;
  const local =
    daysFromCivil(read.year, read.month, read.day) * 86_400 + Number(hours) * 3_600 + Number(minutes) * 60 + Number(seconds);
  const offset = read.zone === undefined ? 0 : offsetSeconds(read.zone, local, out.facts.timeZone);
  if (offset === undefined) return false;
  writeEpoch(out, local - offset, Number(fraction.padEnd(6, '0')));
  return true;
}

/** Seconds east of Greenwich for a zone as these styles print it: an offset, or the abbreviation of the session's own zone. */
function offsetSeconds(zone: string, local: number, timeZone: string): number | undefined {
  if (zone === 'UTC' || zone === 'GMT') return 0;
  const numeric = OFFSET.exec(zone);
  if (numeric !== null) {
    const [, sign, hours, minutes = '0', seconds = '0'] = numeric;
    return (sign === '-' ? -1 : 1) * (Number(hours) * 3_600 + Number(minutes) * 60 + Number(seconds));
  }
  const around = [local - 86_400, local + 86_400].map((instant) => zoneOffset(timeZone, instant));
  const fitting = [...new Set(around)].filter(
    (offset) => offset !== undefined && zoneOffset(timeZone, local - offset) === offset,
  );
  // In the hour that a clock shows twice, the text does not say which one it is.
  return fitting.length === 1 ? fitting[0] : undefined;
}

function zoneOffset(timeZone: string, instant: number): number | undefined {
  try {
    const parts = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    }).formatToParts(instant * 1_000);
    const part = (type: string): string => parts.find((found) => found.type === type)?.value ?? '';
    const year = part('era').startsWith('B') ? 1 - Number(part('year')) : Number(part('year'));
    const shown =
      daysFromCivil(year, Number(part('month')), Number(part('day'))) * 86_400 +
      Number(part('hour')) * 3_600 +
      Number(part('minute')) * 60 +
      Number(part('second'));
    return shown - instant;
  } catch {
    // A zone or an instant that this runtime does not know.
    return undefined;
  }
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
