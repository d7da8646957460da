// A certified OpenID provider for tests: any account may sign in, and consents at once. Arguments: folder of the
// installed package, redirect URI. Prints its issuer once it listens.
import { createRequire } from 'node:module'
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'

const [folder, redirect] = process.argv.slice(2)
const require = createRequire(pathToFileURL(`${folder}/package.json`))
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')))

const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'gateway', client_secret: 'gateway-secret', redirect_uris: [redirect],
        grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'client_secret_post',
      },
      {
        client_id: 'robot', client_secret: 'robot-secret', redirect_uris: [], response_types: [],
        grant_types: ['client_credentials'], token_endpoint_auth_method: 'client_secret_post',
      },
    ],
    cookies: { keys: ['only-for-tests'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: false,
    scopes: ['openid', 'email', 'groups', 'offline_access'],
    issueRefreshToken: async () => true,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, groups: ['dev'] }),
    }),
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://gateway.test',
        getResourceServerInfo: () => ({ scope: 'use', audience: 'https://gateway.test', accessTokenFormat: 'jwt' }),
      },
    },
  })
  provider.on('server_error', (_, error) => console.error(error))
  server.on('request', provider.callback())
  console.log(issuer)
})
