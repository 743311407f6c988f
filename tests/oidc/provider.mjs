// An issuer of access tokens for tests: oidc-provider with two clients. `bank` gets tokens that anybody may use, `bound` such as are
// bound to the certificate that the header x-certificate holds, as a proxy that ends TLS would give it.
//
//   node provider.mjs FOLDER_OF_MODULES PORT KID

import { X509Certificate, generateKeyPairSync } from 'node:crypto';

const [modules, port, kid] = process.argv.slice(2);
const { default: Provider } = await import(`${modules}/node_modules/oidc-provider/lib/index.js`);

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid, alg: 'PS256', use: 'sig' };
const scope = 'decisions:write decisions:read';
const client = (id, more) => ({
  client_id: id,
  client_secret: 'of-the-test',
  token_endpoint_auth_method: 'client_secret_post',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  id_token_signed_response_alg: 'PS256',
  scope,
  ...more,
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client('bank'), client('bound', { tls_client_certificate_bound_access_tokens: true })],
  jwks: { keys: [key] },
  scopes: scope.split(' '),
  ttl: { ClientCredentials: 600 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => {
        const header = ctx.get('x-certificate');
        return header ? new X509Certificate(Buffer.from(header, 'base64')) : undefined;
      },
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://catraca.example',
      getResourceServerInfo: () => ({
        scope,
        audience: 'https://catraca.example',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: 'PS256' } },
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
