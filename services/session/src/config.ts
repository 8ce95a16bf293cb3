import type { Refine } from '@postern/service-kit/config';
import { secret, setting } from '@postern/service-kit/config';
import { sharedSettings } from '@postern/service-kit/settings';
import { z } from 'zod';

const seconds = z.coerce.number().int().positive();

export const settings = {
  ...sharedSettings,
  redisUrl: secret(
    'SESSION_REDIS_URL',
    z.url({ protocol: /^rediss?$/, error: 'must be a redis:// or rediss:// URL' }),
    'Redis, with the ACL user and password of this service',
  ),
  idleSeconds: setting('SESSION_IDLE_SECONDS', seconds.default(28_800), 'Longest pause between two uses of a session'),
  absoluteSeconds: setting('SESSION_ABSOLUTE_SECONDS', seconds.default(604_800), 'Longest life of a session, however it is used'),
  attemptsMax: setting(
    'SESSION_ATTEMPTS_MAX',
    seconds.max(1_000).default(10),
    'Failed logins within the window after which a client, or a name, is locked',
  ),
  attemptsWindowSeconds: setting(
    'SESSION_ATTEMPTS_WINDOW_SECONDS',
    seconds.default(60),
    'Window in which failed logins are counted, and the first lock',
  ),
  lockSecondsMax: setting('SESSION_LOCK_SECONDS_MAX', seconds.default(300), 'Longest lock; each lock is twice the one before'),
};

export const refine: Refine<typeof settings> = ({ idleSeconds, absoluteSeconds }) =>
  idleSeconds !== undefined && absoluteSeconds !== undefined && idleSeconds > absoluteSeconds
    ? ['SESSION_IDLE_SECONDS: must not be more than SESSION_ABSOLUTE_SECONDS']
    : [];
