import type { RepositoryFile } from './repository.ts';

/** What a room may hold; an absent folder is an absent concern, and no other name is allowed. */
const ROOM: readonly RegExp[] = [
  /^(README\.md|package\.json)$/,
  /^migrations\/\d{4}_[a-z0-9_]+\.sql$/,
  /^src\/(main|config|app)\.ts$/,
  /^src\/domain\/[a-z0-9-]+(\.test)?\.ts$/,
  /^src\/nats\/[a-z0-9-]+(\.test)?\.ts$/,
  /^src\/http\/[a-z0-9-]+(\.test)?\.ts$/,
  /^src\/http\/(routes|middleware|sockets)\/[a-z0-9-]+(\.test)?\.ts$/,
  /^src\/(stores|clients)\/[a-z0-9-]+(\.[a-z0-9]+)?(\.test)?\.ts$/,
  /^test\/[a-z0-9-]+(\.(suite|memory|[a-z0-9]+))?(\.int|\.memory)?(\.test)?\.ts$/,
  /^test\/fixtures\/[\w.-]+$/,
];

const REQUIRED = ['README.md', 'package.json', 'src/main.ts', 'src/config.ts', 'src/app.ts'];

/** The rooms are `services/*`. */
export function roomMistakes(files: readonly RepositoryFile[]): string[] {
  const rooms = Map.groupBy(
    files.filter(({ path }) => path.startsWith('services/')),
    ({ path }) => path.split('/')[1] ?? '',
  );
  return [...rooms].flatMap(([room, own]) => {
    const paths = own.map(({ path }) => path.slice(`services/${room}/`.length));
    const strange = paths.filter((path) => !ROOM.some((pattern) => pattern.test(path)));
    const missing = REQUIRED.filter((path) => !paths.includes(path));
    return [
      ...strange.map((path) => `services/${room}/${path}: a room has no such place`),
      ...missing.map((path) => `services/${room}/${path}: is missing`),
    ];
  });
}
