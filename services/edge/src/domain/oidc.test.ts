import { expect, test } from 'vitest';

import { OIDC_REASONS, readClaims } from './oidc.ts';

const rules = { issuer: 'https://id.test', audiences: [], nameClaim: 'email', groupClaim: 'groups' };
const exp = 2_000_000_000;

test('a token needs no subject if another claim holds the name; the two of them stand for one then', () => {
  expect(readClaims(rules, { exp, email: 'bob@x' })).toMatchObject({
    kind: 'identity',
    identity: { name: 'bob@x', subject: '["email","bob@x"]' },
  });
});

/** Otherwise a token without a subject could stand for whoever has its name as their subject. */
test('no two claims make one subject, and a name is never the subject of somebody else', () => {
  const subjects = [
    readClaims(rules, { exp, email: 'bob' }),
    readClaims({ ...rules, nameClaim: 'login' }, { exp, login: 'bob' }),
    readClaims(rules, { exp, email: 'carol', sub: 'bob' }),
  ].map((verdict) => (verdict.kind === 'identity' ? verdict.identity.subject : verdict.reason));
  expect(new Set(subjects).size).toBe(3);
});

test.for([
  ['without the claim of the name', { exp, sub: 's' }, OIDC_REASONS.nameMissing],
  ['with a name that is no string', { exp, sub: 's', email: 1 }, OIDC_REASONS.nameMissing],
  ['with a subject that is no string', { exp, sub: 1, email: 'bob' }, OIDC_REASONS.invalid],
  ['with an empty subject', { exp, sub: '', email: 'bob' }, OIDC_REASONS.invalid],
  ['without an end', { sub: 's', email: 'bob' }, OIDC_REASONS.invalid],
] as const)('a token %s is refused', ([_what, claims, reason]) => {
  expect(readClaims(rules, claims)).toEqual({ kind: 'refused', reason });
});

test('the claim of the name may be the subject itself, and then it is needed', () => {
  const bySubject = { ...rules, nameClaim: 'sub' };
  expect(readClaims(bySubject, { exp, sub: 'bob' })).toMatchObject({ identity: { name: 'bob', subject: 'bob' } });
  expect(readClaims(bySubject, { exp })).toEqual({ kind: 'refused', reason: OIDC_REASONS.nameMissing });
});
