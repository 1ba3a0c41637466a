"""The Streamlit app: it reads the tables, and writes nothing but submissions."""
