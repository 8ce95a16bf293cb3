/** Preloaded into each service: a supervisor that is gone, however it went, is as good as its SIGTERM. */
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
process.channel?.unref();
