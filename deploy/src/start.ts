/** `npm start`: the whole mesh on this machine, until it is told to stop. */
import { join, relative } from 'node:path';

import { ServerMistake } from './servers/server-mistake.ts';
import { openDataFolder, openEphemeralFolder } from './start/data-folder.ts';
import { keepLogsSmall } from './start/logs.ts';
import { openMesh } from './start/mesh.ts';
import type { StartOptions } from './start/options.ts';
import { HELP, parseOptions } from './start/options.ts';
import { reportAsJson, reportInWords } from './start/report.ts';
import type { GivenServers } from './start/servers.ts';
import { readGivenServers } from './start/servers.ts';
import { EXIT_CONFIG, EXIT_USAGE, StartMistake } from './start/start-mistake.ts';
import { listenForStop, Stopped } from './start/stop-signals.ts';

const say = (message: string): void => void process.stderr.write(`${message}\n`);

/** After the second signal, the longest time that ending takes. */
const HURRY_MS = 3_000;

async function main(): Promise<number> {
  const parsed = parseOptions(process.argv.slice(2));
  if (parsed.kind === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  const { given, mistakes } = readGivenServers(process.env);
  const all = parsed.kind === 'mistakes' ? [...parsed.mistakes, ...mistakes] : mistakes;
  if (parsed.kind === 'mistakes' || all.length > 0) {
    say(
      `npm start: cannot start like this\n${all.map((mistake) => `  ${mistake}`).join('\n')}\nnpm start -- --help tells what there is.`,
    );
    return parsed.kind === 'mistakes' ? EXIT_USAGE : EXIT_CONFIG;
  }
  try {
    await run(parsed.options, given);
    return 0;
  } catch (error) {
    if (error instanceof StartMistake) say(error.message);
    else if (error instanceof ServerMistake) say(error.message);
    else say(`the start failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return error instanceof StartMistake ? error.exitCode : 1;
  }
}

/** Resolves when the mesh was stopped as asked; rejects when it cannot be started or cannot go on. */
async function run(options: StartOptions, given: GivenServers): Promise<void> {
  const signals = listenForStop(say);
  signals.onHurry(() => void setTimeout(() => process.exit(1), HURRY_MS).unref());
  const stopped = Promise.withResolvers<never>();
  stopped.promise.catch(() => {});
  signals.stop.addEventListener('abort', () => stopped.reject(new Stopped()));
  const hopeless = Promise.withResolvers<never>();
  hopeless.promise.catch(() => {});
  try {
    await using folder =
      options.dataFolder === undefined ? await openEphemeralFolder() : await openDataFolder(options.dataFolder);
    say(options.ephemeral ? 'starting, for a while' : `starting, with state in ${folder.path}`);
    await using mesh = await openMesh({
      options,
      given,
      folder,
      env: process.env,
      say,
      stopped: stopped.promise,
      onHurry: signals.onHurry,
      onHopeless: hopeless.reject,
    });
    const logsFolder = join(folder.path, 'logs');
    using _logs = keepLogsSmall(logsFolder);
    if (options.json) process.stdout.write(reportAsJson(mesh.report));
    else process.stdout.write(reportInWords(mesh.report, relative('', logsFolder) || '.'));
    await Promise.race([stopped.promise, hopeless.promise]);
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    say('stopped');
  }
}

process.exit(await main());
