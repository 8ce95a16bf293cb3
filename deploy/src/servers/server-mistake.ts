/** A server cannot be had or does not start; the message is for the person at the terminal and says what to do. */
export class ServerMistake extends Error {
  override readonly name = 'ServerMistake';
}
