/** A socket that a login session opened lives no longer than the session: its use is use of the session, whose end is its own. */
import type { Clock } from './ports.ts';

/** What is known of a session: until when it lives if nobody uses it, in milliseconds since the epoch, or that it is over. */
export type SessionLife = { readonly kind: 'until'; readonly untilMs: number } | { readonly kind: 'over' };

export interface SessionLives {
  /** Uses the session. */
  use(token: string): Promise<SessionLife>;
  /** Looks at it, which is no use. */
  look(principalId: string, sessionId: string): Promise<SessionLife>;
}

export interface Attended {
  readonly token: string;
  readonly principalId: string;
  readonly sessionId: string;
  /** Grows when the client says something. */
  readonly heard: () => number;
  readonly ended: () => void;
}

export interface AttendanceOptions {
  readonly lives: SessionLives;
  readonly clock: Clock;
  readonly wait: (ms: number, then: () => void) => { cancel(): void };
}

const STEP_MS_MIN = 1_000;
const STEP_MS_MAX = 60_000;

/** Watches over one socket until the answer is called. While the session cannot be asked about, the socket stays. */
export function createAttendance({ lives, clock, wait }: AttendanceOptions): (attended: Attended) => () => void {
  return ({ token, principalId, sessionId, heard, ended }) => {
    let isOver = false;
    let known = heard();
    let untilMs = 0;
    let waiting: { cancel(): void } | undefined;

    const rest = (): void => {
      if (isOver) return;
      const step = Math.min(STEP_MS_MAX, Math.max(STEP_MS_MIN, (untilMs - clock.nowMs()) / 10));
      waiting = wait(step, () => void turn());
    };
    const turn = async (): Promise<void> => {
      const now = heard();
      const isUsed = now !== known;
      if (isUsed || clock.nowMs() > untilMs) {
        try {
          const life = await (isUsed ? lives.use(token) : lives.look(principalId, sessionId));
          known = now;
          if (life.kind === 'over') {
            if (!isOver) ended();
            isOver = true;
            return;
          }
          untilMs = life.untilMs;
        } catch {
          // The session service is away: it is asked again.
        }
      }
      rest();
    };
    void turn();
    return () => {
      isOver = true;
      waiting?.cancel();
    };
  };
}
