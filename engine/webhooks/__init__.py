"""Calls to webhooks: one signed POST request, with bounds on everything the server controls."""
