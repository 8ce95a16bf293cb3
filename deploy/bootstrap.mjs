#!/usr/bin/env node
/**
 * What `npm start`, `npm test` and the other scripts run: plain JavaScript that needs only Node 18 and npm. It brings the
 * project's own Node and pnpm below `.toolchain/` if the machine's are too old, installs dependencies if they have changed,
 * and runs the command. It says everything on standard error; standard output belongs to the command.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PNPM_VERSION = '12.21.0';
/** The first Node that runs TypeScript sources without a flag or a warning. */
const NODE_OLDEST = [24, 12];

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const toolchain = resolve(process.env.POSTERN_TOOLCHAIN_DIR || join(root, '.toolchain'));

const USAGE = `node deploy/bootstrap.mjs <command> [arguments]

  start      the whole mesh on this machine (start --help tells more)
  dev        the same, and services start again when their source changes
  test       check, test:unit, test:int and e2e
  check      types, lint, format, dead code, house rules, generated pages
  test:unit  domain tests; they meet no server
  test:int   tests that meet real servers
  e2e        the whole mesh, from outside
  bench      measurements
  docs       writes the generated pages
  format     formats all sources
`;

const say = (message) => process.stderr.write(`${message}\n`);

/** Ends the run with a message instead of a stack. */
class Mistake extends Error {}

async function main() {
  const [command, ...args] = process.argv.slice(2);
  if (command === undefined || command === '--help' || !(command in commands)) {
    say(USAGE);
    return command === '--help' ? 0 : 64;
  }
  listenForSignals();
  const node = await prepare();
  return commands[command](node, args);
}

// ---------------------------------------------------------------------------------------------------------- commands

const bin = (name, path) => join(root, 'node_modules', name, path);
const vitest = bin('vitest', 'vitest.mjs');

/** Each answers the exit status. */
const commands = {
  start: (node, args) => runNode(node, ['deploy/src/start.ts', ...args]),
  dev: (node, args) => runNode(node, ['deploy/src/start.ts', ...args], { env: { POSTERN_WATCH: '1' } }),
  bench: (node, args) => runNode(node, ['e2e/load/bench.ts', ...args]),
  docs: (node, args) => runNode(node, ['packages/house-rules/src/write-docs.ts', ...args]),
  format: (node, args) => runNode(node, [bin('oxfmt', 'bin/oxfmt'), ...args]),
  check: (node) => inTotal([staticChecks(node), tests(node, 'rules', [])]),
  'test:unit': (node, args) => inTotal([tests(node, 'unit', args)]),
  'test:int': (node, args) => inTotal([tests(node, 'int', args)]),
  e2e: (node, args) => inTotal([tests(node, 'e2e', args)]),
  test: (node, args) =>
    inTotal([
      staticChecks(node),
      tests(node, 'rules', []),
      tests(node, 'unit', args),
      tests(node, 'int', args),
      tests(node, 'e2e', args),
    ]),
};

/** Runs parts one after the other, all of them, and closes with what failed, a line each, and their counts in one line. */
async function inTotal(parts) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const failures = [];
  let status = 0;
  for (const part of parts) {
    const { counts, status: own } = await part();
    for (const name of Object.keys(total)) total[name] += counts[name];
    failures.push(...counts.failures);
    status ||= own;
    if (stopping !== undefined) break;
  }
  const skipped = total.skipped === 0 ? '' : `, ${total.skipped} skipped`;
  process.stdout.write(failures.map((line) => `\n${line}`).join(''));
  process.stdout.write(`\n${total.passed} passed, ${total.failed} failed${skipped}\n`);
  return status || (total.failed > 0 ? 1 : 0);
}

const staticChecks = (node) => async () => {
  const counts = { passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const [name, run] of Object.entries(checks)) {
    say(`check: ${name}`);
    const ok = await run(node);
    counts[ok ? 'passed' : 'failed'] += 1;
    if (!ok) counts.failures.push(`FAILED check: ${name}`);
    if (stopping !== undefined) break;
  }
  return { counts, status: counts.failed === 0 ? 0 : 1 };
};

const succeeds = async (node, args) => (await runNode(node, args)) === 0;

const checks = {
  types: (node) => succeeds(node, [bin('typescript', 'bin/tsc'), '--noEmit']),
  lint: async (node) => {
    const { status, output } = await captureNode(node, [bin('oxlint', 'bin/oxlint'), '--type-aware']);
    process.stdout.write(output);
    // A stray ignore file makes a linter see nothing and be content.
    const linted = Number(/ on (\d+) files?/.exec(output)?.[1] ?? 0);
    const tracked = await trackedSources();
    if (linted < tracked) say(`lint: ${linted} files were linted, and ${tracked} are tracked`);
    return status === 0 && linted >= tracked;
  },
  format: (node) => succeeds(node, [bin('oxfmt', 'bin/oxfmt'), '--check']),
  'dead code': (node) => succeeds(node, [bin('knip', 'bin/knip.js')]),
  'generated pages': (node) => succeeds(node, ['packages/house-rules/src/write-docs.ts', '--check']),
};

/** How many source files git knows; 0 where there is no git or no repository, as in an unpacked archive. */
async function trackedSources() {
  const { status, output } = await capture('git', ['ls-files', '*.ts', '*.mjs', '*.js', ':!*/generated/*']).catch(() => ({
    status: 1,
  }));
  if (status !== 0) return 0;
  return output.split('\n').filter((path) => path !== '' && existsSync(join(root, path))).length;
}

const tests = (node, project, args) => async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-counts-'));
  const file = join(folder, 'counts.json');
  try {
    const options = ['run', '--project', project, '--passWithNoTests', ...args];
    const status = await runNode(node, [vitest, ...options], { env: { POSTERN_TEST_COUNTS: file } });
    if (existsSync(file)) return { counts: JSON.parse(readFileSync(file, 'utf8')), status };
    const failures = status === 0 ? [] : [`FAILED ${project}: the runner ended with ${status} and without counts`];
    return { counts: { passed: 0, failed: failures.length, skipped: 0, failures }, status };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

// ----------------------------------------------------------------------------------------------------- running things

/** The children that are running now, and the signal that asked us to stop. */
const running = new Set();
let stopping;
let stoppingSince = 0;

/**
 * Children are in process groups of their own: of a Ctrl-C, which npm passes on although the terminal has sent it to all,
 * they get one signal, and a second one only if it comes later.
 */
function listenForSignals() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      if (stopping !== undefined && Date.now() - stoppingSince < 500) return;
      stopping = signal;
      stoppingSince = Date.now();
      if (running.size === 0) process.exit(128 + constants.signals[signal]);
      for (const child of running) child.kill(signal);
    });
  }
  // A shell between npm and us may die of the signal without passing it on.
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent && stopping === undefined) process.kill(process.pid, 'SIGTERM');
  }, 500).unref();
}

/** The caller's environment without what npm adds for its scripts, and with our Node first. */
function environment(node, extra) {
  const kept = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) && name !== 'INIT_CWD');
  return { ...Object.fromEntries(kept), PATH: [dirname(node), process.env.PATH].join(delimiter), ...extra };
}

/** Runs a script to its end and answers its exit status. It ends too if we are killed. */
async function runNode(node, args, { env = {} } = {}) {
  const tether = join(root, 'deploy/src/start/tether.ts');
  return wait(
    spawn(node, ['--import', tether, ...args], {
      cwd: root,
      env: environment(node, env),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    }),
  );
}

const captureNode = (node, args) => capture(node, args, environment(node, {}));

async function capture(command, args, env = process.env) {
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (chunk) => (output += chunk));
  return { status: await wait(child), output };
}

async function wait(child) {
  running.add(child);
  try {
    return await new Promise((settle, fail) => {
      child.once('error', fail);
      child.once('close', (code, signal) => settle(code ?? 128 + constants.signals[signal]));
    });
  } finally {
    running.delete(child);
  }
}

// ---------------------------------------------------------------------------------------------- Node and dependencies

/** Answers the Node to use, once it, pnpm and all dependencies are in place. */
async function prepare() {
  const node = nodeInPlace();
  if (node !== undefined && dependenciesAreCurrent()) return node;
  mkdirSync(toolchain, { recursive: true });
  const release = await takeLock(join(toolchain, 'lock'));
  try {
    removeUnfinished();
    // Another process may have brought them while this one waited.
    const tools = [nodeInPlace() ?? installNode(), pnpmInPlace() ?? installTool('pnpm', 'pnpm', PNPM_VERSION)];
    // Both to their ends before the lock is given back, also if one fails.
    await Promise.allSettled(tools);
    const [ownNode] = await Promise.all(tools);
    if (!dependenciesAreCurrent()) await installDependencies(ownNode);
    return ownNode;
  } finally {
    release();
  }
}

/** Removes what one that was killed half-way has left; nobody else works here now. */
function removeUnfinished() {
  for (const name of readdirSync(toolchain).filter((entry) => entry.startsWith('unfinished-'))) {
    try {
      rmSync(join(toolchain, name), { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // Its npm is still at it, where nothing ends a child with its parent; the next one will remove it.
    }
  }
}

const wantedNode = () => readFileSync(join(root, '.node-version'), 'utf8').trim();
const toolFolder = (name, version) => join(toolchain, `${name}-${version}-${process.platform}-${process.arch}`);

function nodeInPlace() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = NODE_OLDEST;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return process.execPath;
  const own = ownNodePath();
  return existsSync(own) ? own : undefined;
}

/** The package with the binary itself: the package `node` would fetch the same by an install script. */
function nodePackage() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const prefix = platform === 'darwin' && process.arch === 'arm64' ? 'node-bin' : 'node';
  return `${prefix}-${platform}-${process.arch}`;
}

const ownNodePath = () =>
  join(
    toolFolder('node', wantedNode()),
    'node_modules',
    nodePackage(),
    'bin',
    process.platform === 'win32' ? 'node.exe' : 'node',
  );

async function installNode() {
  await installTool('node', nodePackage(), wantedNode());
  return ownNodePath();
}

/** Puts an npm package in a folder of its own, whole or not at all. */
async function installTool(name, packageName, version) {
  say(`postern: getting ${name} ${version}`);
  const unfinished = mkdtempSync(join(toolchain, 'unfinished-'));
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--no-update-notifier', '--loglevel=error'];
  const status = await runNpm(['install', '--prefix', unfinished, ...flags, `${packageName}@${version}`], unfinished);
  if (status !== 0) throw new Mistake(`postern: npm could not install ${packageName}@${version}`);
  const folder = toolFolder(name, version);
  rmSync(folder, { recursive: true, force: true });
  renameSync(unfinished, folder);
}

function runNpm(args, cwd) {
  const script = process.env.npm_execpath;
  const known = script !== undefined && script.endsWith('npm-cli.js') && existsSync(script);
  const [command, first] = known ? [process.execPath, [script]] : [process.platform === 'win32' ? 'npm.cmd' : 'npm', []];
  return toStandardError(command, [...first, ...args], { cwd, env: withoutLogLevel(), shell: command.endsWith('.cmd') });
}

/** npm hands its own silence down to the scripts it runs. */
function withoutLogLevel() {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(config_loglevel|lifecycle|package)/i.test(name)),
  );
}

/** On Linux an install ends with us, also if we are killed: a second one must not meet the first. */
async function toStandardError(command, args, options) {
  const tethered = process.platform === 'linux' && existsSync('/usr/bin/setpriv');
  const [first, rest] = tethered ? ['/usr/bin/setpriv', ['--pdeathsig', 'KILL', '--', command, ...args]] : [command, args];
  try {
    return await wait(spawn(first, rest, { ...options, stdio: ['ignore', process.stderr, process.stderr] }));
  } catch (error) {
    throw new Mistake(`postern: ${command} cannot be run: ${error.message}`);
  }
}

const stampFile = join(root, 'node_modules', '.postern-installed');

function dependenciesAreCurrent() {
  try {
    return readFileSync(stampFile, 'utf8') === dependencyStamp();
  } catch {
    return false;
  }
}

/** Everything that decides what is installed, as one hash. */
function dependencyStamp() {
  const hash = createHash('sha256');
  const workspaces = ['services', 'packages'].flatMap((place) => foldersIn(join(root, place)));
  const folders = [root, ...workspaces, join(root, 'deploy'), join(root, 'e2e')].sort((one, two) => (one < two ? -1 : 1));
  const manifests = folders.map((folder) => join(folder, 'package.json'));
  for (const file of [join(root, 'pnpm-lock.yaml'), join(root, 'pnpm-workspace.yaml'), ...manifests]) {
    if (existsSync(file)) hash.update(file.slice(root.length)).update('\0').update(readFileSync(file)).update('\0');
  }
  // A folder that was moved has links to where it was.
  return hash.update(`${root}\0${process.platform}-${process.arch}\0${PNPM_VERSION}`).digest('hex');
}

const foldersIn = (place) => (existsSync(place) ? readdirSync(place).map((name) => join(place, name)) : []);

/** The program itself, which the package `pnpm` brings for each platform; its wrapper would be one process more. */
function pnpmInPlace() {
  const folder = join(toolFolder('pnpm', PNPM_VERSION), 'node_modules', '@pnpm');
  const program = process.platform === 'win32' ? 'pnpm.exe' : 'pnpm';
  return foldersIn(folder)
    .map((place) => join(place, program))
    .find((path) => existsSync(path));
}

async function installDependencies(node) {
  say('postern: installing dependencies');
  const pnpm = pnpmInPlace();
  if (pnpm === undefined) throw new Mistake(`postern: there is no pnpm for ${process.platform}-${process.arch}`);
  const flags = ['--frozen-lockfile', '--reporter=append-only', '--config.confirm-modules-purge=false'];
  const status = await toStandardError(pnpm, ['install', ...flags], { cwd: root, env: environment(node, { CI: '1' }) });
  if (status !== 0) throw new Mistake('postern: pnpm install failed; see above');
  writeFileSync(stampFile, dependencyStamp());
}

/** One at a time, over processes. A lock whose holder has died is taken over. */
async function takeLock(file) {
  let told = false;
  for (;;) {
    const draft = `${file}-${process.pid}`;
    writeFileSync(draft, String(process.pid));
    try {
      linkSync(draft, file);
      const release = () => rmSync(file, { force: true });
      process.once('exit', release);
      return () => {
        process.off('exit', release);
        release();
      };
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    } finally {
      rmSync(draft, { force: true });
    }
    if (!breakDeadLock(file) && !told) {
      told = true;
      say('postern: waiting for another process that installs');
    }
    await new Promise((settle) => setTimeout(settle, 200));
  }
}

/** Moves a dead lock away; a living one that took its place meanwhile is put back. */
function breakDeadLock(file) {
  const holder = readOr(file, '');
  if (holder === '' ? !isOld(file) : isAlive(Number(holder))) return false;
  const aside = `${file}-dead-${process.pid}`;
  try {
    renameSync(file, aside);
    if (readOr(aside, '') !== holder) linkSync(aside, file);
    unlinkSync(aside);
    return true;
  } catch {
    return false;
  }
}

function readOr(file, fallback) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return fallback;
  }
}

function isOld(file) {
  try {
    return Date.now() - statSync(file).mtimeMs > 10_000;
  } catch {
    return false;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  if (stopping === undefined) say(error instanceof Mistake ? error.message : error.stack);
  process.exitCode = stopping === undefined ? 1 : 128 + constants.signals[stopping];
}
