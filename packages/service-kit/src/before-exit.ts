/** What has to be sent off before the process ends; `runService` waits for it, briefly. */
export const beforeExit: (() => Promise<unknown>)[] = [];
