/** Somebody whose principal auth does not sign any more, though the edge or a session still has it. */
import { expect } from 'vitest';

import { basic, edgeTest as test } from './edge-test.ts';
import { PASSWORD } from './world.ts';

test('what auth signs no more is 401, held or streamed, and is asked anew instead of remembered', async ({ open }) => {
  const world = await open();
  const session = world.stub.openSession('alice');
  const held = JSON.stringify({ query: 'select 1' });
  const streamed = JSON.stringify({ query: `select '${'x'.repeat(100_000)}'` });
  const ask = async (headers: Record<string, string>, body: string) => {
    const answer = await fetch(`${world.origins['password']}/api/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    });
    return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() };
  };
  const questions = (name: string): number => world.stub.calls.filter((call) => call === name).length;
  const unauthorized = { status: 401, type: 'text/plain; charset=utf-8', text: 'unauthorized' };

  for (const [headers, question] of [
    [{ cookie: `postern_session=${session.token}` }, 'resolve'],
    [basic('bob', PASSWORD), 'authenticate'],
  ] as const) {
    world.stub.signs = () => false;
    const [before, arrived] = [questions(question), world.sql.arrived.length];
    expect(await ask(headers, held)).toEqual(unauthorized);
    expect(await ask(headers, streamed)).toEqual(unauthorized);
    expect(await ask(headers, held)).toEqual(unauthorized);
    expect(questions(question)).toBe(before + 3);
    expect(world.sql.arrived.length).toBe(arrived);
    world.stub.signs = () => true;
    expect((await ask(headers, held)).status).toBe(200);
  }
  expect(world.lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
