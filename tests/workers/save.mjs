// A worker that saves one directory: `save.mjs TARGET SESSION DIRECTORY`.

const { Client } = await import(new URL('../../client/node/src/index.js', import.meta.url));

const [target, session, directory] = process.argv.slice(2);
const client = new Client(target);
const saved = await client.save(session, directory);
client.close();
console.log(saved.snapshot.id);
