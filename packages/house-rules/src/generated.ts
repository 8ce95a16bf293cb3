/** The generated pages as files: where they are and what they should hold. */
import { ServiceName } from '@postern/contracts/mesh';
import type { Settings } from '@postern/service-kit/config';
import type { Described } from '@postern/service-kit/operations';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import type { SettingsOf } from './docs.ts';
import { renderConfig, renderErrors, renderReadme, renderSubjects } from './docs.ts';
import type { MetricPage } from './metrics.ts';
import { renderMetrics } from './metrics.ts';
import type { DocumentOptions, RouteRow } from './openapi.ts';
import { renderOpenApi, renderSocketSchema } from './openapi.ts';
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

const load = async (root: string, path: string): Promise<unknown> => import(pathToFileURL(join(root, 'services', path)).href);

/** The edge's route table, and what each service with a door says of its routes. */
export async function loadRoutes(root = ROOT): Promise<DocumentOptions> {
  const { routeTable } = (await load(root, 'edge/src/http/route-table.ts')) as { readonly routeTable: readonly RouteRow[] };
  const described = ['edge', 'auth', 'sql'].map(async (name) => {
    const module = (await load(root, `${name}/src/http/openapi.ts`)) as { readonly described: Described };
    return [name, module.described] as const;
  });
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };
  return { version, table: routeTable, described: Object.fromEntries(await Promise.all(described)) };
}

async function loadMetrics(root: string): Promise<Readonly<Record<string, MetricPage>>> {
  const { shippedMetrics } = (await load(root, 'sql/src/domain/shipped-metrics.ts')) as {
    readonly shippedMetrics: Readonly<Record<string, MetricPage>>;
  };
  return shippedMetrics;
}

export async function generateDocs(root = ROOT): Promise<readonly GeneratedFile[]> {
  const settingsOf = await loadSettings(root);
  const routes = await loadRoutes(root);
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
    { path: 'docs/openapi.json', text: renderOpenApi(routes) },
    { path: 'docs/schemas/sql-websocket.json', text: renderSocketSchema(routes) },
    { path: 'docs/metrics.md', text: renderMetrics(await loadMetrics(root)) },
    ...readmes,
  ];
}

export const staleFiles = (generated: readonly GeneratedFile[], root = ROOT): string[] =>
  generated
    .filter(({ path, text }) => !existsSync(join(root, path)) || readFileSync(join(root, path), 'utf8') !== text)
    .map(({ path }) => path);
