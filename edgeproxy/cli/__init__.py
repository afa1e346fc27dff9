"""The commands. Modules are light to import: what only one command needs it imports when it runs."""
