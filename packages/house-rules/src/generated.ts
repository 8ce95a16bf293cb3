/** The generated pages as files: where they are and what they should hold. */
import { ServiceName } from '@postern/contracts/mesh';
import type { Settings } from '@postern/service-kit/config';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import type { SettingsOf } from './docs.ts';
import { renderConfig, renderErrors, renderReadme, renderSubjects } from './docs.ts';
import { ROOT } from './repository.ts';

export interface GeneratedFile {
  /** From the root. */
  readonly path: string;
  readonly text: string;
}

/** The rooms are reached by path, not by import: no package depends on a service. */
async function loadSettings(root: string): Promise<SettingsOf> {
  const loaded = ServiceName.options.map(async (name) => {
    const module: unknown = await import(pathToFileURL(join(root, 'services', name, 'src/config.ts')).href);
    // Every room's `config.ts` exports its table under this name; a room that does not fails in the first use.
    return [name, (module as { readonly settings: Settings }).settings] as const;
  });
  return Object.fromEntries(await Promise.all(loaded)) as Record<ServiceName, Settings>;
}

export async function generateDocs(root = ROOT): Promise<readonly GeneratedFile[]> {
  const settingsOf = await loadSettings(root);
  const readmes = ServiceName.options.flatMap((name) => {
    const path = `services/${name}/README.md`;
    const full = join(root, path);
    const text = existsSync(full) ? renderReadme(readFileSync(full, 'utf8'), settingsOf[name]) : undefined;
    return text === undefined ? [] : [{ path, text }];
  });
  return [
    { path: 'docs/errors.md', text: renderErrors() },
    { path: 'docs/subjects.md', text: renderSubjects() },
    { path: 'docs/config.md', text: renderConfig(settingsOf) },
    ...readmes,
  ];
}

export const staleFiles = (generated: readonly GeneratedFile[], root = ROOT): string[] =>
  generated
    .filter(({ path, text }) => !existsSync(join(root, path)) || readFileSync(join(root, path), 'utf8') !== text)
    .map(({ path }) => path);
