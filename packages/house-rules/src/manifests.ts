import { z } from 'zod';

import type { RepositoryFile } from './repository.ts';

const Versions = z.record(z.string(), z.string()).default({});
const Manifest = z.object({
  name: z.string(),
  private: z.boolean().optional(),
  type: z.string().optional(),
  scripts: Versions,
  dependencies: Versions,
  devDependencies: Versions,
  optionalDependencies: Versions,
});

interface Named {
  readonly path: string;
  readonly manifest: z.output<typeof Manifest>;
}

const manifestsOf = (files: readonly RepositoryFile[]): Named[] =>
  files
    .filter(({ path }) => path === 'package.json' || path.endsWith('/package.json'))
    .map(({ path, text }) => ({ path, manifest: Manifest.parse(JSON.parse(text)) }));

const versionsOf = ({ dependencies, devDependencies, optionalDependencies }: Named['manifest']): [string, string][] => [
  ...Object.entries(dependencies),
  ...Object.entries(devDependencies),
  ...Object.entries(optionalDependencies),
];

/** Manifests that differ where all are alike, and versions that are said in more than one place. */
export function manifestMistakes(files: readonly RepositoryFile[]): string[] {
  const manifests = manifestsOf(files);
  const catalog = files.find(({ path }) => path === 'pnpm-workspace.yaml')?.text ?? '';
  return [
    ...manifests.flatMap(shapeMistakes),
    ...scriptMistakes(manifests.filter(({ path }) => path.startsWith('services/'))),
    ...versionMistakes(manifests, catalog),
  ];
}

function shapeMistakes({ path, manifest }: Named): string[] {
  return [
    ...(manifest.private === true ? [] : [`${path}: is not private`]),
    ...(manifest.type === 'module' ? [] : [`${path}: is not of type module`]),
    ...((/^services\/([^/]+)\//.exec(path)?.[1] ?? manifest.name.split('/')[1] ?? manifest.name) ===
    (manifest.name.split('/')[1] ?? manifest.name)
      ? []
      : [`${path}: is named ${manifest.name}`]),
  ];
}

function scriptMistakes(services: readonly Named[]): string[] {
  const plain = ({ path, manifest }: Named): string =>
    JSON.stringify(manifest.scripts).replaceAll(path.replace('/package.json', ''), 'services/*');
  const [first] = services;
  if (first === undefined) return [];
  return services
    .filter((service) => plain(service) !== plain(first))
    .map(({ path }) => `${path}: its scripts differ from those of ${first.path}`);
}

function versionMistakes(manifests: readonly Named[], catalog: string): string[] {
  const uses = manifests.flatMap(({ path, manifest }) =>
    versionsOf(manifest).map(([name, version]) => ({ path, name, version })),
  );
  const users = Map.groupBy(uses, ({ name }) => name);
  const listed = [...(/^catalog:\n((?: .*\n)*)/m.exec(catalog)?.[1] ?? '').matchAll(/^ {2}'?([^':\s]+)'?:/gm)].map(
    ([, name]) => name,
  );
  return [
    ...uses
      .filter(({ name, version }) => name.startsWith('@postern/') !== (version === 'workspace:*'))
      .map(({ path, name }) => `${path}: ${name} is of this workspace, or not, and its version says otherwise`),
    ...uses
      .filter(({ name, version }) => (users.get(name)?.length ?? 0) > 1 && !/^(catalog|workspace):/.test(version))
      .map(({ path, name }) => `${path}: ${name} is used more than once; its version belongs in the catalog`),
    ...listed.flatMap((name) => (name === undefined || users.has(name) ? [] : [`pnpm-workspace.yaml: nobody uses ${name}`])),
  ];
}
