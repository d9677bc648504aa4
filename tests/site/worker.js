// The service worker of /browse: what the page put into Cache Storage is served from there.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  if (new URL(event.request.url).pathname !== "/bytes") return;
  event.respondWith(caches.match(event.request).then((hit) => hit ?? fetch(event.request)));
});
