import type { EventContract, Service } from '@postern/contracts/define';
import { eventSubject, procedureSubject } from '@postern/contracts/define';
import { commonErrors } from '@postern/contracts/failure';

/** What a code may begin with beside its service's name: the nouns of that service. */
const NOUNS: Readonly<Record<string, readonly string[]>> = {
  edge: [
    'ROUTE',
    'METHOD',
    'TARGET',
    'HOST',
    'ORIGIN',
    'REQUEST',
    'HEADER',
    'HEADERS',
    'EXPECTATION',
    'BODY',
    'LOGIN',
    'UNAUTHORIZED',
    'UPSTREAM',
    'SOCKET',
  ],
  auth: ['CREDENTIAL', 'LOGIN', 'PERSON', 'NAME', 'PASSWORD', 'KEY', 'ROLE', 'LAST', 'ADMIN'],
  session: ['LOGIN', 'TOO_MANY'],
};

const repeated = (words: readonly string[]): string[] => [
  ...new Set(words.filter((word, index) => words.indexOf(word) !== index)),
];

/** What is wrong with contracts that the compiler cannot see. */
export function contractMistakes(services: readonly Service[], events: readonly EventContract[]): string[] {
  const subjects = services.flatMap((service) => Object.keys(service.procedures).map((name) => procedureSubject(service, name)));
  const codes = [...Object.keys(commonErrors), ...services.flatMap(({ errors }) => Object.keys(errors))];
  return [
    ...repeated([...subjects, ...events.map(eventSubject)]).map((subject) => `${subject}: two have this subject`),
    ...repeated(codes).map((code) => `${code}: two services have this code`),
    ...services.flatMap(serviceMistakes),
    ...events
      .filter(({ name }) => !name.endsWith('ed'))
      .map((event) => `${eventSubject(event)}: an event is named in past tense`),
    ...events.filter(({ summary }) => !isSentence(summary)).map((event) => `${eventSubject(event)}: has no summary`),
  ];
}

function serviceMistakes(service: Service): string[] {
  const { name, errors, procedures } = service;
  const prefixes = [name.toUpperCase(), ...(NOUNS[name] ?? [])];
  const used = new Set(Object.values(procedures).flatMap(({ errors: listed }) => listed));
  return [
    ...Object.entries(errors).flatMap(([code, { status, title }]) => [
      ...(/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/.test(code) ? [] : [`${code}: is not SCREAMING_SNAKE`]),
      ...(prefixes.some((prefix) => code === prefix || code.startsWith(`${prefix}_`))
        ? []
        : [`${code}: begins with no noun of ${name}`]),
      ...(status >= 400 && status < 600 ? [] : [`${code}: ${status} is no status of a failure`]),
      ...(title === '' ? [`${code}: has no title`] : []),
    ]),
    ...Object.entries(procedures).flatMap(([procedure, { summary, timeoutMs, errors: listed }]) => {
      const subject = procedureSubject(service, procedure);
      return [
        ...(isSentence(summary) ? [] : [`${subject}: its summary is not a sentence`]),
        ...(timeoutMs > 0 && timeoutMs <= 30_000 ? [] : [`${subject}: ${timeoutMs} ms is no deadline`]),
        ...repeated(listed).map((code) => `${subject}: lists ${code} twice`),
      ];
    }),
    ...(used.size === 0 && Object.keys(procedures).length > 0 && Object.keys(errors).length > 0
      ? [`${name}: no procedure answers any of its codes`]
      : []),
  ];
}

const isSentence = (text: string): boolean => /^[A-Z].*\.$/s.test(text);

interface TrafficRow {
  readonly calls: readonly string[];
  readonly emits: readonly EventContract[];
  readonly listensTo: readonly EventContract[];
}

/** Who calls what nobody serves, serves what nobody calls, emits what nobody knows, or hears what nobody emits. */
export function trafficMistakes(
  services: readonly Service[],
  events: readonly EventContract[],
  traffic: Readonly<Record<string, TrafficRow>>,
): string[] {
  const served = services.flatMap((service) => Object.keys(service.procedures).map((name) => procedureSubject(service, name)));
  const called = new Set(Object.values(traffic).flatMap(({ calls }) => calls));
  const emitted = new Set(Object.values(traffic).flatMap(({ emits }) => emits));
  const rows = Object.entries(traffic);
  return [
    ...rows.flatMap(([name, { calls }]) =>
      calls.filter((subject) => !served.includes(subject)).map((subject) => `${name} calls ${subject}, which nobody serves`),
    ),
    ...rows.flatMap(([name, { calls }]) =>
      calls.filter((subject) => subject.startsWith(`rpc.${name}.`)).map((subject) => `${name} calls itself: ${subject}`),
    ),
    ...served.filter((subject) => !called.has(subject)).map((subject) => `${subject}: nobody calls it`),
    ...rows.flatMap(([name, { emits, listensTo }]) => [
      ...emits
        .filter((event) => !events.includes(event))
        .map((event) => `${name} emits ${eventSubject(event)}, which is not listed`),
      ...listensTo
        .filter((event) => !emitted.has(event))
        .map((event) => `${name} hears ${eventSubject(event)}, which nobody emits`),
    ]),
    ...services.filter(({ name }) => !(name in traffic)).map(({ name }) => `${name}: its traffic is not listed`),
  ];
}
