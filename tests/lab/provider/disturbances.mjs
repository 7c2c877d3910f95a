// What goes wrong on the way: delays, answers that are not the provider's, polls that come too soon. Records every
// request.

const ENDPOINTS = {
  '/.well-known/openid-configuration': 'discovery',
  '/jwks': 'jwks',
  '/device/auth': 'device_authorization',
  '/token': 'token',
  '/me': 'userinfo',
};
const REQUESTS_MAX = 100000;
const SLOW_DOWN = 5; // seconds (RFC 8628, section 3.5)
const EARLY = 0.1; // seconds by which a poll may be early: clocks and timers differ

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export class Disturbances {
  constructor(settings) {
    this.settings = settings;
    this.requests = []; // { endpoint, at, parameters, status, error }; at: Unix time
    this.polls = new Map(); // device code -> { at, interval }, in seconds
    this.planned = new Map(); // endpoint -> [{ delay, status, headers, body, times }]
  }

  // For the next `times` requests (0: for all) to an endpoint: waits `delay` ms; with a `status`, answers that in the
  // provider's place.
  add(endpoint, { delay = 0, status = 0, headers = {}, body = '', times = 0 }) {
    if (!Object.values(ENDPOINTS).includes(endpoint)) throw new Error(`no such endpoint: ${endpoint}`);
    const planned = this.planned.get(endpoint) ?? [];
    this.planned.set(endpoint, [...planned, { delay, status, headers, body, times: times || Infinity }]);
  }

  clear() {
    this.planned.clear();
  }

  next(endpoint) {
    const [first, ...others] = this.planned.get(endpoint) ?? [];
    if (!first) return undefined;
    first.times -= 1;
    if (first.times <= 0) this.planned.set(endpoint, others);
    return first;
  }

  async around(ctx, next) {
    const endpoint = ENDPOINTS[ctx.path];
    if (!endpoint) return next();
    const record = { endpoint, at: Date.now() / 1000, parameters: {} };
    this.requests.push(record);
    if (this.requests.length > REQUESTS_MAX) this.requests.shift();
    const disturbance = this.next(endpoint);
    if (disturbance?.delay) await sleep(disturbance.delay);
    if (disturbance?.status) {
      Object.assign(ctx, { status: disturbance.status, body: disturbance.body });
      ctx.set(disturbance.headers);
    } else {
      await next();
    }
    const { client_secret: _, ...parameters } = ctx.oidc?.body ?? {};
    if (ctx.body?.error === 'authorization_pending' && this.tooSoon(parameters.device_code, record.at)) {
      ctx.body = { error: 'slow_down', error_description: 'polled too soon' };
    }
    return Object.assign(record, { parameters, status: ctx.status, error: ctx.body?.error });
  }

  tooSoon(code, at) {
    const last = this.polls.get(code);
    const interval = last?.interval ?? this.settings.interval ?? SLOW_DOWN;
    const soon = this.settings.enforceInterval && last !== undefined && at - last.at < interval - EARLY;
    this.polls.set(code, { at, interval: soon ? interval + SLOW_DOWN : interval });
    return soon;
  }
}
