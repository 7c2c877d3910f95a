// Signing keys, made when they are needed, and signing what oidc-provider itself would never sign.
import { createPrivateKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

const jwk = (pair, alg) => {
  const kid = randomBytes(8).toString('hex');
  return { ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid };
};

// One key for RS256 and one for ES256.
export const newKeys = () => [
  jwk(generateKeyPairSync('rsa', { modulusLength: 2048 }), 'RS256'),
  jwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'ES256'),
];

// Signs any claims with the first key that fits the header's alg (RFC 7515, section 3.1); without one the signature is
// empty.
export function signed(header, claims, keys) {
  const text = `${encoded(header)}.${encoded(claims)}`;
  const found = keys.find(({ alg }) => alg === header.alg);
  if (!found) return `${text}.`;
  const key = { key: createPrivateKey({ key: found, format: 'jwk' }), dsaEncoding: 'ieee-p1363' };
  return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
}

function merged(old, changes) {
  const all = Object.entries({ ...old, ...changes });
  return Object.fromEntries(all.filter(([, value]) => value !== null));
}

// A token with claims and header fields replaced, or left out where the new value is null, and signed anew.
export function altered(token, claims, header, keys) {
  const [oldHeader, oldClaims] = token.split('.', 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')));
  return signed(merged(oldHeader, header), merged(oldClaims, claims), keys);
}
