/** Why a start cannot go on, in words for the person at the terminal. */
export class StartMistake extends Error {
  override readonly name = 'StartMistake';
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Wrong options on the command line (sysexits `EX_USAGE`). */
export const EXIT_USAGE = 64;
/** A configuration that cannot be used (sysexits `EX_CONFIG`). */
export const EXIT_CONFIG = 78;
