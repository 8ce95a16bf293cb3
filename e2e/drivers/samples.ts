/** Values of every built-in type, as PostgreSQL takes them in; a scenario sees to it that no type is missing. */
export const SAMPLES: Readonly<Record<string, readonly string[]>> = {
  aclitem: ['postgres=r*w/postgres'],
  bit: ['0', '1'],
  bool: ['t', 'f'],
  box: ['(3,4),(1,2)'],
  bpchar: ['a', 'ends in blanks  '],
  bytea: ['\\x', '\\x00ff5c27', 'plain'],
  char: ['x', ''],
  cid: ['4294967295'],
  cidr: ['192.168.0.0/16', '2001:db8::/32'],
  circle: ['<(1.5,-2),3>'],
  date: ['2026-02-28', '0044-03-15 BC', 'infinity', '-infinity', '99999-12-31'],
  datemultirange: ['{}', '{[2026-01-01,2026-02-01),[2026-03-01,)}'],
  daterange: ['empty', '[2026-01-01,2026-02-01)', '(,)'],
  float4: ['1', '0.1', '-0', '3.4028235e38', 'NaN', 'Infinity', '-Infinity'],
  float8: ['1', '0.1', '-0', '1.7976931348623157e308', '5e-324', '0.30000000000000004', 'NaN', 'Infinity', '-Infinity'],
  inet: ['127.0.0.1', '10.1.2.3/8', '::1', '2001:db8::1/64'],
  int2: ['-32768', '32767'],
  int2vector: ['1 2 3', ''],
  int4: ['-2147483648', '2147483647', '0'],
  int4multirange: ['{}', '{[1,3),[5,8)}'],
  int4range: ['empty', '[1,10)', '(,5]'],
  int8: ['-9223372036854775808', '9223372036854775807', '9007199254740993'],
  int8multirange: ['{[9007199254740993,9007199254740995)}'],
  int8range: ['[9007199254740993,)'],
  interval: ['1 year 2 mons -3 days 04:05:06.789', '00:00:00', '-00:00:01', '178000000 years'],
  json: ['{"b":1, "a":[1.10,null,true,"é"]}', '"text"', '1.10', 'null'],
  jsonb: ['{"b":1, "a":[1.10,null,true,"é"]}', '"text"', '1.10', 'null', '12345678901234567890'],
  jsonpath: ['$.a[*] ? (@ > 1)'],
  line: ['{1,-1,0.5}'],
  lseg: ['[(0,0),(1,1.5)]'],
  macaddr: ['08:00:2b:01:02:03'],
  macaddr8: ['08:00:2b:01:02:03:04:05'],
  money: ['$1,234.56', '-$0.01'],
  name: ['a_name', 'É'],
  numeric: ['0', '-0.00', '1.10', '12345678901234567890.123456789', '1e-20', '1e40', 'NaN', 'Infinity'],
  nummultirange: ['{[1.10,2.20]}'],
  numrange: ['[1.10,2.20]', '(,)'],
  oid: ['0', '4294967295'],
  oidvector: ['1 4294967295', ''],
  path: ['((0,0),(1,1),(2,0))', '[(0,0),(1,1)]'],
  pg_lsn: ['16/B374D848', '0/0'],
  pg_snapshot: ['10:20:10,14,15'],
  point: ['(1.5,-2)', '(0,0)'],
  polygon: ['((0,0),(1,1),(2,0))'],
  refcursor: ['a cursor'],
  regclass: ['pg_class', '0'],
  regcollation: ['"C"'],
  regconfig: ['english'],
  regdictionary: ['simple'],
  regnamespace: ['pg_catalog'],
  regoper: ['||/'],
  regoperator: ['+(integer,integer)'],
  regproc: ['pi'],
  regprocedure: ['abs(integer)'],
  regrole: ['postgres'],
  regtype: ['integer', 'timestamp with time zone'],
  text: ['', 'plain', 'quotes \' " \\ and {braces}', 'a\nline\tand a tab', 'é 漢 🦊', 'NULL'],
  tid: ['(0,1)'],
  time: ['23:59:59.999999', '24:00:00'],
  timestamp: ['2026-02-28 12:34:56.789123', '1969-12-31 23:59:59.999', 'infinity', '-infinity', '0044-03-15 12:00:00 BC'],
  timestamptz: ['2026-02-28 12:34:56.789123+05:30', '1969-12-31 23:59:59.999Z', 'infinity', '0044-03-15 12:00:00+00 BC'],
  timetz: ['23:59:59.999999-08', '00:00:00+05:30'],
  tsmultirange: ['{["2026-01-01 00:00:00","2026-01-02 00:00:00")}'],
  tsquery: ["'fat' & ( 'rat' | !'cat':*AB )"],
  tsrange: ['["2026-01-01 00:00:00","2026-01-02 12:30:00.5")'],
  tstzmultirange: ['{["2026-01-01 00:00:00+02",)}'],
  tstzrange: ['["2026-01-01 00:00:00+02","2026-01-02 00:00:00Z")'],
  tsvector: ["'a':1A,3 'fat' 'it''s':2B"],
  txid_snapshot: ['10:20:10,14,15'],
  uuid: ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '00000000-0000-0000-0000-000000000000'],
  varbit: ['', '1011001'],
  varchar: ['', 'é 漢 🦊'],
  xid: ['4294967295'],
  xid8: ['18446744073709551615'],
  xml: ['<a b="1">é &amp; ü</a>'],
};

/** What PostgreSQL itself takes no value of from anybody. */
export const WITHOUT_VALUES = [
  'gtsvector',
  'pg_brin_bloom_summary',
  'pg_brin_minmax_multi_summary',
  'pg_dependencies',
  'pg_mcv_list',
  'pg_ndistinct',
  'pg_node_tree',
];

/** Every built-in type that values are of: base types, ranges and multiranges, by what SQL calls them. */
export const BUILT_IN_TYPES = `
  select typname::text as name, format_type(oid, null) as sql, format_type(typarray, null) as array_sql
  from pg_type
  where typnamespace = 'pg_catalog'::regnamespace and typtype in ('b', 'r', 'm')
    and (typcategory <> 'A' or typname in ('int2vector', 'oidvector'))
  order by typname`;

export interface BuiltInType {
  readonly name: string;
  readonly sql: string;
  readonly array_sql: string | null;
}

export interface Question {
  readonly what: string;
  readonly text: string;
  readonly values?: readonly string[];
}

const literal = (text: string): string =>
  text.includes('\\') ? ` E'${text.replaceAll(/[\\']/g, '\\$&')}'` : `'${text.replaceAll("'", "''")}'`;

/** What to ask of one type: each value as a literal and as a parameter, nothing, and arrays of them in one and two dimensions. */
export function questionsAbout({ name, sql, array_sql: array }: BuiltInType): readonly Question[] {
  const samples = SAMPLES[name] ?? [];
  const literals = samples.map((sample) => `${literal(sample)}::${sql}`);
  const named = (expressions: readonly string[]): string =>
    expressions.map((expression, index) => `${expression} as c${index}`).join(', ');
  const list = literals.join(', ');
  return [
    { what: 'literals', text: `select ${named([...literals, `null::${sql}`])}` },
    {
      what: 'parameters',
      text: `select ${named(samples.map((_, index) => `$${index + 1}::${sql}`))}`,
      values: samples,
    },
    ...(array === null
      ? []
      : [
          {
            what: 'arrays',
            text: `select ${named([`array[${list}, null]`, `array[array[${list}], array[${list}]]`, `'{}'::${array}`, `null::${array}`])}`,
          },
        ]),
  ];
}
