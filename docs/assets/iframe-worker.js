// Search without a server: browsers refuse workers of pages that were opened from the disk, so that a frame
// does a worker's work there. It knows what the search needs: messages both ways, and importScripts.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      const inside = (this.inside = frame.contentWindow);
      inside.importScripts = (...urls) =>
        urls.reduce((before, each) => before.then(() => load(inside, each, url)), Promise.resolve());
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      load(inside, url, location.href).then(() => {
        this.ready = true;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      });
    }

    postMessage(data) {
      if (this.ready) this.inside.dispatchEvent(new MessageEvent("message", { data }));
      else this.waiting.push(data);
    }

    terminate() {
      this.inside.frameElement.remove();
    }
  };
}

// Load a script into a frame; its address is relative to whoever asks for it.
function load(inside, url, base) {
  return new Promise((resolve, reject) => {
    const script = inside.document.createElement("script");
    script.src = new URL(url, new URL(base, location.href)).href;
    script.onload = resolve;
    script.onerror = reject;
    inside.document.head.append(script);
  });
}
