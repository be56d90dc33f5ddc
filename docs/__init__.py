"""The pages, and what makes them: `python -m docs.build` renders docs/templates from recorded studies."""
