"""OpenAI's Responses API for clients: requests become Messages requests, Messages answers become responses.

Stateless: a request brings its whole conversation. Sources for the clients' requests and needs: Codex 0.171.0, opencode
1.18.33, openai 3.57.0 and 7.59.0 (npm), openai-agents 0.24.0, AI SDK 6.0 (2026-11).
"""
