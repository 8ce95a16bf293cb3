import type { RepositoryFile } from './repository.ts';

/** Migrations of a service are numbered 0001, 0002, … without a gap or a repeat: their order is their history. */
export function migrationMistakes(files: readonly RepositoryFile[]): string[] {
  const migrations = files.filter(({ path }) => /^services\/[^/]+\/migrations\//.test(path));
  return [...Map.groupBy(migrations, ({ path }) => path.split('/').slice(0, 3).join('/'))].flatMap(([folder, own]) =>
    own
      .map(({ path }) => path.slice(folder.length + 1))
      .toSorted()
      .flatMap((name, index) => {
        const number = String(index + 1).padStart(4, '0');
        return name.startsWith(`${number}_`) ? [] : [`${folder}/${name}: number ${number} was expected`];
      }),
  );
}
