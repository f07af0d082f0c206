"""The naive baseline: sentence-transformers, FastAPI and Milvus Lite, as the documentation of each begins.

Run in an environment of its own: python server.py MODEL_FOLDER ITEMS_JSONL DATABASE PORT

ITEMS_JSONL has one {"id": ..., "title": ..., "text": ...} a line. They are indexed before the server listens.
"""

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from pymilvus import MilvusClient
from sentence_transformers import SentenceTransformer

COLLECTION = "items"


class Query(BaseModel):
    text: str
    limit: int = 10


def application(model_folder: str, items: list[dict[str, Any]], database: str) -> FastAPI:
    model = SentenceTransformer(model_folder, device="cpu")
    client = MilvusClient(database)
    client.create_collection(
        collection_name=COLLECTION, dimension=model.get_sentence_embedding_dimension(), metric_type="COSINE"
    )
    vectors = model.encode([item["text"] for item in items])
    rows = [
        {"id": number, "vector": vector, "item": item["id"], "title": item["title"], "text": item["text"]}
        for number, (item, vector) in enumerate(zip(items, vectors, strict=True))
    ]
    client.insert(collection_name=COLLECTION, data=rows)
    app = FastAPI()

    @app.post("/search")
    def search(query: Query) -> list[dict[str, Any]]:
        vectors = model.encode([query.text])
        found = client.search(
            collection_name=COLLECTION,
            data=vectors,
            limit=query.limit,
            output_fields=["item", "title", "text"],
        )
        return [{"score": hit["distance"], **hit["entity"]} for hit in found[0]]

    return app


if __name__ == "__main__":
    items = [json.loads(line) for line in Path(sys.argv[2]).read_text("utf-8").splitlines()]
    app = application(sys.argv[1], items, sys.argv[3])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[4]), access_log=False)
