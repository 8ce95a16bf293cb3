/** The bodies that the edge itself reads. */
import { z } from 'zod';

/** Unknown keys are ignored, as the reference does. */
export const LoginBody = z.object({ username: z.string().min(1).max(256), password: z.string().max(1_024) });
