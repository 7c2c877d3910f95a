// What the provider remembers, in memory. Shared by all providers of the process, so that one with other keys goes on
// where the last one was. The interface is oidc-provider's ("Adapter" in its documentation).

const entries = new Map(); // 'Model:id' -> { payload, ends }, ends in ms
const idOf = new Map(); // 'uid:...' and 'userCode:...' -> id

export class Store {
  constructor(model) {
    this.model = model;
  }

  async upsert(id, payload, expiresIn) {
    // oidc-provider itself says that a code has expired, for which it has to find it: entries live for an hour more.
    const ends = expiresIn === undefined ? Infinity : Date.now() + (expiresIn + 3600) * 1000;
    entries.set(`${this.model}:${id}`, { payload, ends });
    for (const name of ['uid', 'userCode']) {
      if (payload[name]) idOf.set(`${this.model}:${name}:${payload[name]}`, id);
    }
  }

  async find(id) {
    const entry = entries.get(`${this.model}:${id}`);
    return entry && entry.ends > Date.now() ? entry.payload : undefined;
  }

  async findByUid(uid) {
    return this.find(idOf.get(`${this.model}:uid:${uid}`));
  }

  async findByUserCode(userCode) {
    return this.find(idOf.get(`${this.model}:userCode:${userCode}`));
  }

  async consume(id) {
    (await this.find(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    entries.delete(`${this.model}:${id}`);
  }

  async revokeByGrantId(grantId) {
    // A code that was refused has no grant, and must not take along everything else that has none.
    for (const [key, { payload }] of entries) {
      if (grantId && payload.grantId === grantId && key.startsWith(`${this.model}:`)) entries.delete(key);
    }
  }
}
