"""The engine behind a web page, a REST interface, assistants and music players."""
