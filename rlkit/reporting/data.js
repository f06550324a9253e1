// The data inside this file: compressed pages, opened when they are needed, and the last ones kept.

async function unpack(id) {
  const coded = document.getElementById(id).textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(coded) : Uint8Array.from(atob(coded), (sign) => sign.charCodeAt(0));
  const opened = new DecompressionStream("gzip"); // fed directly: a Blob would go through another process first
  const writer = opened.writable.getWriter();
  const [text] = await Promise.all([new Response(opened.readable).text(), writer.write(bytes), writer.close()]);
  return JSON.parse(text);
}

const Store = {
  index: null,
  kept: new Map(), // page id -> promise of its items; the oldest go first
  most: 160,

  async open() {
    const index = await unpack("index");
    const c = index.columns;
    index.size = c.step.length;
    index.groups = new Map();
    for (let i = 0; i < index.size; i++) {
      const members = index.groups.get(c.group[i]);
      if (members) members.push(i); else index.groups.set(c.group[i], [i]);
    }
    this.index = index;
    return index;
  },

  page(kind, number) {
    const id = kind + number;
    let found = this.kept.get(id);
    if (found) this.kept.delete(id); else found = unpack(id);
    this.kept.set(id, found);
    if (this.kept.size > this.most) this.kept.delete(this.kept.keys().next().value);
    return found;
  },

  async item(kind, number) {
    const starts = this.index.starts[kind];
    let low = 0, high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= number) low = middle; else high = middle - 1;
    }
    return (await this.page(kind, low))[number - starts[low]];
  },

  text(at) { return this.item("t", at); },
  told(at) { return this.item("e", at); },
  row(at) { return this.item("r", this.index.columns.row[at]); },
};
