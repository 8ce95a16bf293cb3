/** Which form of an answer a client asks for (RFC 9110, 12.5.1). */

export type AnswerForm = 'json' | 'ndjson' | 'csv';

/** The first of those that are liked the same is taken. */
const OFFERS: readonly (readonly [form: AnswerForm, type: string])[] = [
  ['json', 'application/json'],
  ['ndjson', 'application/x-ndjson'],
  ['ndjson', 'application/jsonl'],
  ['ndjson', 'application/ndjson'],
  ['csv', 'text/csv'],
];

interface Range {
  readonly type: string;
  readonly quality: number;
}

/**
 * The form that is liked best; of two, the one that is named rather than covered by a `*`. Who asks for none of them gets
 * JSON, as who does not ask.
 */
export function answerForm(accept: string | undefined): AnswerForm {
  if (accept === undefined || accept === '') return 'json';
  return bestOf(accept.split(',').map(readRange)) ?? 'json';
}

/** Only what is named counts: `text/*` is no wish for a stream without an end. */
export type EventsWish = 'no' | 'only' | 'among others';

/** Whether server-sent events are liked; of several forms, what is asked decides, as only SUBSCRIBE can be shown so. */
export function eventsWish(accept: string | undefined): EventsWish {
  if (accept === undefined || !/event-stream/i.test(accept)) return 'no';
  const ranges = accept.split(',').map(readRange);
  if (!ranges.some(({ type, quality }) => type === 'text/event-stream' && quality > 0)) return 'no';
  return bestOf(ranges) === undefined ? 'only' : 'among others';
}

function bestOf(ranges: readonly Range[]): AnswerForm | undefined {
  let best: { readonly form: AnswerForm; readonly quality: number; readonly rank: number } | undefined;
  for (const [form, type] of OFFERS) {
    const found = mostSpecific(ranges, type);
    if (found === undefined || found.quality <= 0) continue;
    const isBetter =
      best === undefined || found.quality > best.quality || (found.quality === best.quality && found.rank > best.rank);
    if (isBetter) best = { form, ...found };
  }
  return best?.form;
}

/** 2: named as it is. 1: `text/*`. 0: any. */
function mostSpecific(ranges: readonly Range[], type: string): { readonly quality: number; readonly rank: number } | undefined {
  const candidates = ['*/*', `${type.slice(0, type.indexOf('/'))}/*`, type];
  for (const rank of [2, 1, 0]) {
    const range = ranges.find((one) => one.type === candidates[rank]);
    if (range !== undefined) return { quality: range.quality, rank };
  }
  return undefined;
}

function readRange(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase());
  const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
  return { type, quality: quality === undefined ? 1 : readQuality(quality) };
}

const readQuality = (text: string): number => (/^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(text) ? Number(text) : 0);
