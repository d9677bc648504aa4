// What the pages of the login site do in the browser; `site.run` is called by each page with its own function.
const site = {
  show(result) {
    const pre = document.getElementById("state");
    if (!pre) return;
    pre.textContent = JSON.stringify(result);
    pre.dataset.ready = "true";
  },

  async run(page, data) {
    try {
      await page(data);
    } catch (error) {
      site.show({ error: String(error) });
    }
  },

  nothing() {},

  open(name, store) {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(store, { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  },

  // Runs `work` on an object store and resolves, once the transaction is complete, to the request's result.
  async inStore(name, store, mode, work) {
    const db = await site.open(name, store);
    try {
      return await new Promise((resolve, reject) => {
        const transaction = db.transaction(store, mode);
        const request = work(transaction.objectStore(store));
        transaction.oncomplete = () => resolve(request?.result);
        transaction.onerror = transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      db.close();
    }
  },

  toHex: (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(""),
  fromHex: (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16)),

  async welcome({ local, record }) {
    localStorage.setItem("login", JSON.stringify(local));
    const stored = { id: "login", ...record, when: new Date(record.when), bytes: site.fromHex(record.bytes) };
    await site.inStore("login", "logins", "readwrite", (store) => store.put(stored));
    location.replace("/");
  },

  // The record as JSON, or null when it is missing or a value has lost its type on the way.
  async readRecord() {
    const record = await site.inStore("login", "logins", "readonly", (store) => store.get("login"));
    if (!(record?.when instanceof Date) || !(record.bytes instanceof Uint8Array)) return null;
    return { user: record.user, when: record.when.getTime(), bytes: site.toHex(record.bytes), text: record.text };
  },

  async state() {
    const found = { localStorage: JSON.parse(localStorage.getItem("login")), indexedDB: await site.readRecord() };
    const answer = await fetch("/check", { method: "POST", body: JSON.stringify(found) });
    site.show(answer.ok ? await answer.json() : { error: await answer.text() });
  },

  async logout() {
    localStorage.removeItem("login");
    await site.inStore("login", "logins", "readwrite", (store) => store.delete("login"));
    location.replace("/");
  },

  address: (kind, name, size) => `/${kind}?${new URLSearchParams({ name, size })}`,

  async bytes(name, size) {
    const answer = await fetch(site.address("bytes", name, size));
    return new Uint8Array(await answer.arrayBuffer());
  },

  loaded: (element) =>
    new Promise((resolve, reject) => {
      element.onload = resolve;
      element.onerror = () => reject(new Error(`could not load ${element.src}`));
      document.getElementById("images").append(element);
    }),

  times: (count, work) => Promise.all(Array.from({ length: count }, (_, i) => work(i))),

  async browse(p) {
    const name = (kind, i) => `${p.seed}-${kind}-${i}`;
    await navigator.serviceWorker.register("/worker.js");
    await navigator.serviceWorker.ready;
    await site.times(p.n, (i) => {
      const image = new Image();
      image.src = site.address("image", name("image", i), p.image);
      return site.loaded(image);
    });
    await site.times(p.scripts, (i) => {
      const script = document.createElement("script");
      script.src = site.address("script", name("script", i), p.script);
      return site.loaded(script);
    });
    await site.times(p.local, async (i) => {
      const bytes = await site.bytes(name("local", i), Math.ceil(p.local_bytes / 2));
      localStorage.setItem(`browse-${name("local", i)}`, site.toHex(bytes));
    });
    const records = await site.times(p.idb, async (i) => {
      const bytes = await site.bytes(name("idb", i), p.idb_bytes);
      const half = bytes.length >> 1;
      const text = `record ${i} of ${p.seed}`;
      return { id: name("idb", i), when: new Date(1.6e12 + i), bytes: bytes.slice(half), blob: new Blob([bytes.slice(0, half)]), text };
    });
    await site.inStore("browse", "records", "readwrite", (store) => void records.forEach((record) => store.put(record)));
    const cache = await caches.open("browse");
    await site.times(p.cache, (i) => cache.add(site.address("bytes", name("cache", i), p.cache_bytes)));
    site.show({ ...p, scriptsRun: window.scripts ?? 0, kept: (await cache.keys()).length });
  },
};
